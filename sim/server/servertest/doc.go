// Package servertest has a small PCI function for tests of the vfio-user server
// and its clients: registers in a byte slice, one register that is cleared by
// reading, doorbells through shadow memory, a DMA engine, interrupts.
//
//	BAR 0   0x0000-0x0fff  plain registers, but for:
//	        Counter        counts its own reads; cleared by reading
//	        Source, Target, Length, Command   the DMA engine
//	        Status         of the last DMA: Done or Failed
//	        0x1000-...     doorbells, every 0x40 bytes
package servertest
