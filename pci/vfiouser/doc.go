// Package vfiouser is the transport to PCI functions that another process serves over a
// UNIX socket with the vfio-user protocol. Importing it registers the scheme
// "vfio-user:/path/to/socket" with pci.Open.
//
//	Load32, Store32, ReadAt, WriteAt --> message --> reply     (trapped, microseconds)
//	Store32 of a doorbell -------------> shadow memory, then eventfd (no message)
//	Load32, Store32 of a mapped area --> memory                (no message)
//	DMA().Map(memory) -----------------> IOVA + memfd: the server reads and writes
//	                                     the memory directly
//	SetVectors(eventfds) <-------------- the server signals the eventfds directly
//
// # Doorbells
//
// A ring's tail register is written once per batch, so the write must not need a round
// trip. It cannot be mapped: its page has other registers whose reads have side effects
// (counters that are cleared by reading). So a server may offer single registers as
// shadow ioeventfds (DEVICE_GET_REGION_IO_FDS, type 2): Store32 stores the value in
// shared memory and adds 1 to an eventfd, without message, lock or allocation. All other
// registers of the page, and reads of this one, stay trapped. Plain ioeventfds and
// ioregionfds are for hypervisors; this package writes such registers by message.
//
// Store32 by message returns after the server's reply, so a later doorbell cannot
// overtake it.
//
// # Loss of the device
//
// The device is lost if the connection ends, if the server violates the protocol, or if
// a request is not answered within the timeout. As on the bus, loads then return all
// ones and stores are discarded; Done is closed and Err names the request or the reason.
// An error reply does not lose the device: a load returns all ones, a store is
// discarded, and methods with an error result return it.
//
// # Threat model
//
// Everything from the server is checked: lengths, indices, ranges, descriptors. A server
// can make requests fail, but not crash this process, with two exceptions. It may write
// all memory that is mapped for it; the option PrivateDMA keeps the memory private, at
// the cost of messages. And a server that truncates a file of shadow pages or mapped
// areas crashes its clients with SIGBUS, unless the file is sealed.
package vfiouser
