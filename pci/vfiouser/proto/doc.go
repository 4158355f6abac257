// Package proto is the vfio-user protocol on the wire: message headers, the
// layout of every command, capability negotiation, and a connection that sends
// and receives whole messages with the descriptors that travel beside them.
//
// Go in: Go values and descriptors. Come out: messages on a SOCK_STREAM UNIX
// socket, and back. The client (pci/vfiouser) and the server (sim/server) share
// this package and nothing else.
//
//	 0        2         4            8        12       16
//	+--------+---------+------------+--------+--------+------------- - -
//	|   ID   | Command |    Size    | Flags  | Errno  |  body, Size-16
//	+--------+---------+------------+--------+--------+------------- - -
//	  beside the bytes: descriptors (SCM_RIGHTS)
//
// All integers have the byte order of the host. Decoders check lengths before
// they look at a field, never allocate more than the message's own length asks
// for, and never keep the slice they decode.
//
// Source: the vfio-user Protocol Specification, QEMU docs/interop/vfio-user.rst.
// The layout of the shadow kind of ioeventfd, and the mmap and file-io flags of
// DMA_MAP, are not in it; they are libvfio-user's (include/vfio-user.h).
//
// Threat model: the peer may be hostile. Whatever it sends, a receiver here
// ends with a message, an error, and no descriptor that nobody owns.
package proto
