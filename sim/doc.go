// Package sim is a software Intel 82599: one port of the 10 GbE controller, as a
// driver sees it on the bus. It is written from the datasheet (82599 10 GbE
// Controller, revision 3.4; section numbers stand beside the registers) and from
// the code of the stock drivers. Config.ID makes it another board of the 82599, or an
// X540 or X550, of which it has what those drivers use. It shares nothing with package
// driver.
//
//	           packet buffer (RXPBSIZE)
//	wire ──> MAC ──> filters ──> RSS ──┬───────────────> queue ──> descriptors
//	  ^   length,   address,   hash,   └─> [fifo] ──────^  ^       and buffers
//	  │   CRC       VLAN       checksums                   │       of the client
//	  └── frames <── checksums, TSO, VLAN <── queue <──────┴── tails, registers
//
// The wire is a [wire.Wire]. A NIC is a [server.Device]: package server connects
// it to the client by the vfio-user protocol. Open starts a NIC in this process;
// importing the package registers it with pci.Open as scheme "sim:".
//
// # Threads
//
// One device thread moves frames. It holds the NIC's mutex for a batch of up to
// 256 frames, then yields to register accesses. Tail registers are shared memory
// (doorbells), which it reads at the start of each pass. After 2 ms without work
// it sleeps 20 us at a time. While nothing can arrive it sleeps until a doorbell
// rings, at most 5 ms, and 100 ms without a client. On a wire without a schedule
// it sleeps after 100 us, for up to 1 ms.
//
// # What is modelled
//
// Reset, EEPROM, semaphores, link, SFP+ module identification and diagnostics, so that
// unmodified drivers initialize the port; 128 receive and transmit queues, legacy
// and advanced one-buffer descriptors, frames over several descriptors; address
// and VLAN filters; EtherType, SYN and 5-tuple filters, Flow Director, RSS; checksum
// offloads in both directions, VLAN stripping and insertion, TCP segmentation;
// interrupts with moderation; time stamps of PTP messages by the clock SYSTIM (stamp.go),
// in both directions; statistics with read-to-clear. A frame that is sent takes
// its time on the line (txtime.go): 672 bits for 60 bytes, at the begin and the rate of
// its queue's limiter (RTTBCNRC). RecordSent records when frames have left.
//
// Virtualization (datasheet 7.10): 64 pools of 2 queues or 32 of 4, selected by
// address and VLAN; switching between pools, mirror rules, checks of source addresses
// and VLANs; up to 63 virtual functions with their mailboxes. A [VF] is a
// server.Device of its own.
//
//	                  ┌─> pool 0   queues ──> VF 0    client
//	wire ──> pools ───┼─> pool 1   queues ──> VF 1    client
//	          ^  │    └─> pool n   queues ──> NIC     client, default pool
//	frames ───┘  └──> mirror rules: one more pool
//	sent
//
// # What is not
//
// Counters of pause frames by priority, of link faults, FCoE, management, MACsec and
// IPsec exist and stay 0.
//
// These have registers that hold what is written, without effect: DCB, FCoE, RSC,
// LinkSec and IPsec, wake-up, management, sending of pause frames, and of the time stamps
// TIMADJ, target times and the outputs of TSAUXC. Header split is counted as a fault and treated as one buffer.
//
// # Faults
//
// The option fault (see Usage) injects faults: link flaps, lost doorbells, DMA to
// unmapped addresses, bad CRCs, removal, a receive or transmit DMA that stops until a
// reset, requests that stay pending. Four are defects that every driver must
// detect: eeprom-checksum, no-writeback (DD is never written), rxdctl (ENABLE
// never reads back set) and no-msix (vectors are never signalled).
//
// # Behaviour of the chip
//
// docs/82599.md lists it in full, with the tests.
//
//   - GPRC, GORC and PRC count frames for which the packet buffer then had no
//     room (erratum: Linux and DPDK subtract RXMPC).
//   - With CRC stripping, GORC and QBRC exclude the CRC; TOR and GOTC include it
//     (DPDK, ixgbe_read_stats_registers).
//   - A bad frame counts in one register, before the filters: by its length (RUC, RFC,
//     ROC, RJC), else its symbols (ERRBC, ILLERRC), its CRC (CRCERRS), its length field
//     (RLEC). With FCTRL.SBP it is stored, with RXE.
//   - A frame for a disabled queue is dropped and counted in QPRDC. A frame for a
//     queue without descriptors blocks the packet buffer, unless SRRCTL.DROP_EN.
//   - Writes to an unmapped address are lost and the descriptor is completed, since
//     PCIe writes are posted. Reads of one set Received Master Abort in the PCI
//     status register; a descriptor read also stops the queue until its tail is
//     written.
//   - The rate limiter counts frames with CRC, without preamble and gap (MoonGen), and
//     a queue that had no frames to send catches nothing up.
//   - A frame without IFCS is sent with the CRC that software gave, and counted as a
//     good one: the MAC does not check it.
//   - All fields of a receive descriptor but DD and the length are valid in the
//     frame's last descriptor only.
//   - DTXTCPFLGL masks the TCP flags with 0xFF6 in first and middle segments of TSO,
//     DTXTCPFLGH with 0xF7F in the last.
package sim
