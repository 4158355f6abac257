// Package sim is a software Intel 82599: one port of the 10 GbE controller, as
// a driver sees it on the bus. It is written from the datasheet (82599 10 GbE
// Controller, revision 3.4; section numbers stand beside the registers) and from
// what the stock drivers rely on, and shares nothing with package driver.
//
// In go frames of a [wire.Wire] and a client's register accesses, out come
// frames in the client's memory:
//
//	           packet buffer (RXPBSIZE)
//	wire ──> MAC ──> filters ──> RSS ──┬───────────────> queue ──> descriptors
//	  ^   length,   address,   hash,   └─> [fifo] ──────^  ^       and buffers
//	  │   CRC       VLAN       checksums                   │       of the client
//	  └── frames <── checksums, TSO, VLAN <── queue <──────┴── tails, registers
//
// A NIC is a [server.Device]: package server speaks the vfio-user protocol with
// the client. Open starts one in this process, which importing the package
// makes the scheme "sim:" of pci.Open do.
//
// # Threads
//
// One device thread moves frames. It holds the NIC's mutex for a batch of up to
// 256 and lets register accesses in between. Tail registers are shared memory
// (doorbells) that it reads at the start of each pass; it sleeps for 20 us when
// there was nothing to do for 2 ms and until a doorbell rings, at most 5 ms,
// when nothing can arrive. On a wire without a schedule it sleeps sooner, and the
// longer the longer nothing has come, up to 1 ms; without a client it rests.
//
// # What is modelled
//
// Reset, EEPROM, semaphores, link and SFP+ module identification, so that
// drivers nobody here wrote bring the port up; 128 receive and transmit queues,
// legacy and advanced one-buffer descriptors, frames over several descriptors;
// address and VLAN filters, EtherType filters, RSS, checksum offloads both
// ways, VLAN stripping and insertion, TCP segmentation; interrupts with
// moderation; statistics with their read-to-clear.
//
// # What is not
//
// These have registers that hold what is written, and no effect: DCB, VMDq and
// SR-IOV, Flow Director, 5-tuple and SYN filters, FCoE, RSC, LinkSec and IPsec,
// time stamps (their clock runs), wake-up, management, sending of pause frames. Header split is
// counted as a fault and treated as one buffer. The EEPROM is read and written
// through EERD and EEWR; bit-banging it through EEC reads nothing.
//
// # Misbehaviour
//
// The option fault (see Open) breaks the port: link flaps, lost doorbells, stray
// DMA, bad CRCs, removal; and four broken chips that no driver must get by with,
// for tests of tests: eeprom-checksum, no-writeback (DD is never written), rxdctl
// (ENABLE never reads back) and no-msix (vectors never fire).
//
// # Facts worth knowing
//
// docs/82599.md has them all, with the tests that show them.
//
//   - GPRC, GORC and PRC count frames that the packet buffer then had no room
//     for. Linux and DPDK call it an erratum and subtract RXMPC.
//   - With CRC stripping on, GORC and QBRC leave the CRC out; TOR and GOTC never
//     do (DPDK, ixgbe_read_stats_registers).
//   - A frame for a disabled queue is dropped and counted in QPRDC; one for a
//     queue without descriptors blocks the packet buffer, unless SRRCTL.DROP_EN.
//   - Writes to an address that is not mapped vanish, since a PCIe write has no
//     answer: the descriptor says done. Reads of one set Received Master Abort in
//     the PCI status register; where it was a descriptor, the queue stops until
//     its tail is written again.
//   - All fields of a receive descriptor but DD and the length belong to the
//     frame's last descriptor.
//   - DTXTCPFLGL leaves 0xFF6 of the TCP flags in first and middle segments of
//     TSO, DTXTCPFLGH 0xF7F in the last.
package sim
