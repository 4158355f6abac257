// Package server offers a software PCI function to vfio-user clients: our own
// client, QEMU, or any other.
//
// A Device goes in: regions, interrupt counts, what reads and writes do. A
// socket that clients connect to comes out, and for the device a Host: the
// client's memory and interrupts.
//
//	client                 reader goroutine              worker = ServeConn
//	  | request -------------> queue ----------------------> Device.ReadRegion,
//	  |                                                      WriteRegion, Quiesce
//	  | <----------------------------------------- reply ----- |
//	  |
//	  | <-- DMA_READ, DMA_WRITE ---- Host.ReadDMA (device thread waits)
//	  | <-- the same, of an address that is not mapped (nobody waits)
//	  | reply ---------------> straight to the waiting device thread
//	  |
//	  | shared memory <------------- Host.Bytes (no message)
//	  | eventfds <------------------ Host.Raise (no message)
//	  | shadow memory + eventfd ---> the device's own doorbells (no message)
//
// Replies never wait behind requests, so a device thread that holds the
// device's lock while it waits for a DMA_READ, and a register access that waits
// for the same lock, do not block each other for good.
//
// # Threads
//
// The worker calls all methods of Device, one at a time. The device's own
// thread calls all methods of Host. They meet in Device.Quiesce: memory map and
// interrupts change only inside it, so the device thread needs no lock for them.
//
// # Threat model
//
// The client may be hostile. A malformed request is answered with an error
// number; one whose end cannot be found costs the client its connection; no
// descriptor that comes with either is kept. Ranges beyond the end of the file
// behind them are refused. A client that cuts its file afterwards raises SIGBUS
// in whoever touches the memory: device threads run their accesses inside
// Recover, which turns the fault into an error. A client that reads no replies,
// or answers no DMA request, is let go after the server's timeout; so is one
// that says nothing before it has negotiated a version. Ranges, mapped files and
// bytes, and requests read ahead with their descriptors are bounded, since what
// one client uses up is missing for the process's other ports.
//
// When a client goes, its memory is unmapped and its interrupts are closed; the
// device hears of it by Detach. What it keeps for the next client is its own
// affair: one with rings in memory had better reset itself, since the next
// client's memory is another.
package server
