package reg

import "fmt"

// Single registers are constants, register arrays functions that check their
// index. Table lists all of them again with access mode and section.

// General control (8.2.3.1).
const (
	CTRL     Offset = 0x00000
	STATUS   Offset = 0x00008
	CTRL_EXT Offset = 0x00018
	ESDP     Offset = 0x00020
	I2CCTL   Offset = 0x00028
)

// EEPROM and semaphores (8.2.3.2, 8.2.3.4).
const (
	EEC        Offset = 0x10010
	EERD       Offset = 0x10014
	SWSM       Offset = 0x10140
	FWSM       Offset = 0x10148
	SW_FW_SYNC Offset = 0x10160
	GCR_EXT    Offset = 0x11050
)

// Interrupts (8.2.3.5).
const (
	EICR      Offset = 0x00800
	EICS      Offset = 0x00808 // reads as EICR, without clearing it
	EIAC      Offset = 0x00810
	EIMS      Offset = 0x00880
	EIMC      Offset = 0x00888
	GPIE      Offset = 0x00898
	IVAR_MISC Offset = 0x00A00
)

// EITR is the moderation of vector i, 0-63: the first 24 lie apart from the others.
func EITR(i int) Offset {
	if i < 24 {
		return array("EITR", 0x00820, 4, 24, i)
	}
	return array("EITR", 0x12300-24*4, 4, 64, i)
}

// IVAR gives queues 2i and 2i+1 their vectors, i = 0-63.
func IVAR(i int) Offset { return array("IVAR", 0x00900, 4, 64, i) }

// EICS_EX raises the interrupts of vectors 0-31 and 32-63, i = 0, 1.
func EICS_EX(i int) Offset { return array("EICS_EX", 0x00A90, 4, 2, i) }

// EIMS_EX lets vectors 0-31 and 32-63 through, i = 0, 1.
func EIMS_EX(i int) Offset { return array("EIMS_EX", 0x00AA0, 4, 2, i) }

// EIMC_EX masks vectors 0-31 and 32-63, i = 0, 1.
func EIMC_EX(i int) Offset { return array("EIMC_EX", 0x00AB0, 4, 2, i) }

// EIAM_EX says which vectors mask themselves when they fire, i = 0, 1.
func EIAM_EX(i int) Offset { return array("EIAM_EX", 0x00AD0, 4, 2, i) }

// Flow control (8.2.3.3).
const (
	FCRTV Offset = 0x032A0
	FCCFG Offset = 0x03D00
)

// FCTTV holds pause times, i = 0-3.
func FCTTV(i int) Offset { return array("FCTTV", 0x03200, 4, 4, i) }

// FCRTL and FCRTH are the thresholds of packet buffer i, 0-7.
func FCRTL(i int) Offset { return array("FCRTL", 0x03220, 4, 8, i) }

// FCRTH is the high threshold of packet buffer i, 0-7.
func FCRTH(i int) Offset { return array("FCRTH", 0x03260, 4, 8, i) }

// Receive (8.2.3.7, 8.2.3.8).
const (
	FCTRL     Offset = 0x05080
	VLNCTRL   Offset = 0x05088
	RXCSUM    Offset = 0x05000
	RFCTL     Offset = 0x05008
	MRQC      Offset = 0x05818
	RDRXCTL   Offset = 0x02F00
	RXCTRL    Offset = 0x03000
	RSCDBU    Offset = 0x03028
	SECRXCTRL Offset = 0x08D00
	SECRXSTAT Offset = 0x08D04
)

// RAL and RAH are receive address i, 0-127.
func RAL(i int) Offset { return array("RAL", 0x0A200, 8, 128, i) }

// RAH holds the upper 16 bits of address i and its valid bit.
func RAH(i int) Offset { return array("RAH", 0x0A204, 8, 128, i) }

// RETA is the indirection table, four entries each, i = 0-31. (Also at 0x0EB00.)
func RETA(i int) Offset { return array("RETA", 0x05C00, 4, 32, i) }

// RSSRK is the RSS key, i = 0-9. (Also at 0x0EB80.)
func RSSRK(i int) Offset { return array("RSSRK", 0x05C80, 4, 10, i) }

// RXPBSIZE is the size of packet buffer i, 0-7.
func RXPBSIZE(i int) Offset { return array("RXPBSIZE", 0x03C00, 4, 8, i) }

// Registers of receive queue q, 0-127: the first 64 lie apart from the others.

// RDBAL and RDBAH are where the ring is.
func RDBAL(q int) Offset { return rxQueueReg("RDBAL", 0x00, q) }

// RDBAH is the upper half of the ring's address.
func RDBAH(q int) Offset { return rxQueueReg("RDBAH", 0x04, q) }

// RDLEN is the ring's length in bytes.
func RDLEN(q int) Offset { return rxQueueReg("RDLEN", 0x08, q) }

// RDH is the index of the next descriptor the device fills.
func RDH(q int) Offset { return rxQueueReg("RDH", 0x10, q) }

// SRRCTL describes buffers and descriptors. (Queues 0-15 have it at 0x2100 too.)
func SRRCTL(q int) Offset { return rxQueueReg("SRRCTL", 0x14, q) }

// DCA_RXCTRL steers direct cache access. (Queues 0-15 have it at 0x2200 too.)
func DCA_RXCTRL(q int) Offset { return rxQueueReg("DCA_RXCTRL", 0x0C, q) }

// RDT is the index one past the last descriptor the device may fill.
func RDT(q int) Offset { return rxQueueReg("RDT", 0x18, q) }

// RXDCTL enables the queue.
func RXDCTL(q int) Offset { return rxQueueReg("RXDCTL", 0x28, q) }

// RSCCTL is the queue's receive side coalescing.
func RSCCTL(q int) Offset { return rxQueueReg("RSCCTL", 0x2C, q) }

// Transmit (8.2.3.9, 8.2.3.10).
const (
	DMATXCTL  Offset = 0x04A80
	DTXMXSZRQ Offset = 0x08100
	MTQC      Offset = 0x08120
	RTTDCS    Offset = 0x04900
)

// TXPBSIZE is the size of transmit packet buffer i, 0-7.
func TXPBSIZE(i int) Offset { return array("TXPBSIZE", 0x0CC00, 4, 8, i) }

// TXPBTHRESH is the room that buffer i must have for one more packet, 0-7.
func TXPBTHRESH(i int) Offset { return array("TXPBTHRESH", 0x04950, 4, 8, i) }

// Registers of transmit queue q, 0-127.

// TDBAL is the lower half of the ring's address.
func TDBAL(q int) Offset { return array("TDBAL", 0x06000, 0x40, 128, q) }

// TDBAH is the upper half of the ring's address.
func TDBAH(q int) Offset { return array("TDBAH", 0x06004, 0x40, 128, q) }

// TDLEN is the ring's length in bytes.
func TDLEN(q int) Offset { return array("TDLEN", 0x06008, 0x40, 128, q) }

// DCA_TXCTRL steers direct cache access.
func DCA_TXCTRL(q int) Offset { return array("DCA_TXCTRL", 0x0600C, 0x40, 128, q) }

// TDH is the index of the next descriptor the device sends.
func TDH(q int) Offset { return array("TDH", 0x06010, 0x40, 128, q) }

// TDT is the index one past the last descriptor to send.
func TDT(q int) Offset { return array("TDT", 0x06018, 0x40, 128, q) }

// TXDCTL enables the queue.
func TXDCTL(q int) Offset { return array("TXDCTL", 0x06028, 0x40, 128, q) }

// MAC and link (8.2.3.22).
const (
	HLREG0 Offset = 0x04240
	MAXFRS Offset = 0x04268
	MFLCN  Offset = 0x04294
	AUTOC  Offset = 0x042A0
	LINKS  Offset = 0x042A4
	AUTOC2 Offset = 0x042A8

	CORECTL Offset = 0x14F00 // analog settings
)

// Statistics (8.2.3.23). All of them are cleared when read.
const (
	CRCERRS Offset = 0x04000 // CRC errors
	ILLERRC Offset = 0x04004 // frames with illegal bytes
	ERRBC   Offset = 0x04008 // frames with error bytes
	RLEC    Offset = 0x04040 // length field and length differ
	RUC     Offset = 0x040A4 // undersize
	RFC     Offset = 0x040A8 // fragments: undersize, CRC bad
	ROC     Offset = 0x040AC // oversize
	RJC     Offset = 0x040B0 // jabber: oversize, CRC bad
	GPRC    Offset = 0x04074 // good frames that reached the port
	GORCL   Offset = 0x04088 // their bytes
	GORCH   Offset = 0x0408C
	GPTC    Offset = 0x04080 // good frames sent
	GOTCL   Offset = 0x04090 // their bytes
	GOTCH   Offset = 0x04094
)

// RXMPC counts frames missed for want of room in packet buffer i, 0-7.
func RXMPC(i int) Offset { return array("RXMPC", 0x03FA0, 4, 8, i) }

// RQSMR maps receive queues 4i to 4i+3 to statistics counters, i = 0-31.
func RQSMR(i int) Offset { return array("RQSMR", 0x02300, 4, 32, i) }

// TQSM maps transmit queues 4i to 4i+3 to statistics counters, i = 0-31.
func TQSM(i int) Offset { return array("TQSM", 0x08600, 4, 32, i) }

// Per-queue statistics: 16 counters, which RQSMR and TQSM give to queues.

// QPRC counts frames received.
func QPRC(i int) Offset { return array("QPRC", 0x01030, 0x40, 16, i) }

// QBRCL and QBRCH count their bytes.
func QBRCL(i int) Offset { return array("QBRC_L", 0x01034, 0x40, 16, i) }

// QBRCH is the upper half of QBRCL.
func QBRCH(i int) Offset { return array("QBRC_H", 0x01038, 0x40, 16, i) }

// QPRDC counts frames dropped because the queue had no descriptor.
func QPRDC(i int) Offset { return array("QPRDC", 0x01430, 0x40, 16, i) }

// QPTC counts frames sent.
func QPTC(i int) Offset { return array("QPTC", 0x08680, 4, 16, i) }

// array is element i of a register array.
func array(name string, first, stride Offset, n, i int) Offset {
	if i < 0 || i >= n {
		panic(fmt.Sprintf("reg: %s[%d]: there are %d", name, i, n))
	}
	return first + Offset(i)*stride
}

// rxQueueReg is a register of receive queue q: 0x40 bytes each, from 0x01000 on
// for queues 0 to 63 and from 0x0D000 on for queues 64 to 127.
func rxQueueReg(name string, at Offset, q int) Offset {
	switch {
	case q < 0 || q > 127:
		panic(fmt.Sprintf("reg: %s[%d]: there are 128", name, q))
	case q < 64:
		return 0x01000 + Offset(q)*0x40 + at
	default:
		return 0x0D000 + Offset(q-64)*0x40 + at
	}
}
