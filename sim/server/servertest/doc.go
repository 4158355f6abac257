// Package servertest has a small PCI function for tests of the vfio-user server and
// its clients: registers in a byte slice, one register that reading clears,
// doorbells through shadow memory, a DMA engine, interrupts.
//
//	client ──> server ──> BAR 0 ──> Command ──> DMA engine ──> client memory
//	   └── shadow memory, eventfd ──> Rings       └──> MSI-X, INTx
//
//	BAR 0   0x0000-0x0fff  plain registers, except:
//	        Counter        counts writes; cleared by reading
//	        Source, Target, Length, Command   of the DMA engine
//	        Status         of the last DMA: Done or Failed
//	        0x1000-...     doorbells, every 0x40 bytes
package servertest
