// Package proto encodes and decodes the vfio-user protocol: message headers, the layout
// of each command, capability negotiation, and a connection that sends and receives
// messages with their descriptors over a SOCK_STREAM UNIX socket. The client
// (pci/vfiouser) and the server (sim/server) have only this package in common.
//
//	 0        2         4            8        12       16
//	+--------+---------+------------+--------+--------+------------- - -
//	|   ID   | Command |    Size    | Flags  | Errno  |  body, Size-16
//	+--------+---------+------------+--------+--------+------------- - -
//	  descriptors: SCM_RIGHTS, with the first byte
//
// All integers have the host's byte order. A decoder checks lengths before it reads
// fields, allocates at most in proportion to the message's length, and does not keep the
// slice that it decodes.
//
// Sources: vfio-user Protocol Specification, QEMU docs/interop/vfio-user.rst; for the
// layout of shadow ioeventfds and the mmap and file-io flags of DMA_MAP, libvfio-user
// (include/vfio-user.h).
//
// Threat model: the peer may be hostile. Whatever it sends, a receiver returns a message
// or an error and leaks no descriptor.
package proto
