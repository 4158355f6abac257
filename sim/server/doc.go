// Package server serves a software PCI function, a Device, to vfio-user clients:
// package vfiouser, QEMU, or any other.
//
//	client                 reader goroutine              worker = ServeConn
//	  | request -------------> queue ----------------------> Device.ReadRegion,
//	  |                                                      WriteRegion, Quiesce
//	  | <----------------------------------------- reply ----- |
//	  |
//	  | <-- DMA_READ, DMA_WRITE ---- Host.ReadDMA (device thread waits)
//	  | <-- the same, of an unmapped address (no thread waits)
//	  | reply ---------------> directly to the waiting device thread
//	  |
//	  | shared memory <------------- Host.Bytes (no message)
//	  | eventfds <------------------ Host.Raise (no message)
//	  | shadow memory + eventfd ---> the device's own doorbells (no message)
//
// Replies do not queue behind requests. So a device thread that holds the device's
// lock while it waits for a DMA_READ, and a register access that waits for the same
// lock, do not deadlock.
//
// # Threads
//
// The worker calls all methods of Device, one at a time. The device's own thread
// calls all methods of Host. Device.Quiesce synchronizes them: memory map and
// interrupts change only inside it, so the device thread needs no lock for them.
//
// # Threat model
//
// The client can be hostile. A malformed request is answered with an error number;
// one of unknown length ends the connection; descriptors that come with either are
// closed. Ranges beyond the end of their file are refused. If a client truncates a
// file afterwards, an access raises SIGBUS: device threads run their accesses in
// Recover, which turns the fault into an error. A client that does not read its
// replies, or does not answer a DMA request or send its VERSION within the server's
// timeout, is disconnected. Ranges, mapped files and bytes, and the requests read
// ahead with their descriptors are limited, since all ports of the process share
// these resources.
//
// When a client disconnects, its memory is unmapped, its interrupts are closed and
// Detach is called. A device with rings in memory must reset itself then: the next
// client has other memory.
package server
