package reg

// All registers and the fields that the driver reads or writes, by section.

// General control (8.2.3.1).
var (
	CTRL                = one("CTRL", 0x00000, RW, "8.2.3.1")
	CTRL_MASTER_DISABLE = CTRL.bit("MASTER_DISABLE", 2) // no further requests on the bus
	CTRL_LRST           = CTRL.bit("LRST", 3)           // link reset, clears itself
	CTRL_RST            = CTRL.bit("RST", 26)           // device reset, clears itself

	STATUS               = one("STATUS", 0x00008, RO, "8.2.3.1")
	STATUS_LAN_ID        = STATUS.bits("LAN_ID", 3, 2)
	STATUS_MASTER_ENABLE = STATUS.bit("MASTER_ENABLE", 19) // requests may be pending

	CTRL_EXT               = one("CTRL_EXT", 0x00018, RW, "8.2.3.1")
	CTRL_EXT_PFRSTD        = CTRL_EXT.bit("PFRSTD", 14)        // reset done, for virtual functions
	CTRL_EXT_NS_DIS        = CTRL_EXT.bit("NS_DIS", 16)        // no "no snoop" on the bus
	CTRL_EXT_EXTENDED_VLAN = CTRL_EXT.bit("EXTENDED_VLAN", 26) // frames have an outer tag
	CTRL_EXT_DRV_LOAD      = CTRL_EXT.bit("DRV_LOAD", 28)      // a driver is loaded, for the firmware

	ESDP      = one("ESDP", 0x00020, RW, "8.2.3.1")
	ESDP_SDP3 = ESDP.bit("SDP3", 3) // on SFP+ boards: the transmit laser is off

	// Two-wire bus to the module. A line is high unless a device pulls it low.
	I2CCTL          = one("I2CCTL", 0x00028, RW, "8.2.3.1")
	I2CCTL_CLK_IN   = I2CCTL.bit("CLK_IN", 0)
	I2CCTL_CLK_OUT  = I2CCTL.bit("CLK_OUT", 1)
	I2CCTL_DATA_IN  = I2CCTL.bit("DATA_IN", 2)
	I2CCTL_DATA_OUT = I2CCTL.bit("DATA_OUT", 3)

	LEDCTL       = one("LEDCTL", 0x00200, RW, "8.2.3.1")
	LEDCTL_MODE  = LEDCTL.four("MODE", 4) // LED_ constants
	LEDCTL_BLINK = LEDCTL.fourFrom("BLINK", 7, 1)
)

// EEPROM and semaphores (8.2.3.2, 8.2.3.4).
var (
	EEC      = one("EEC", 0x10010, RW, "8.2.3.2")
	EEC_PRES = EEC.bit("PRES", 8) // an EEPROM with a valid signature is present
	EEC_ARD  = EEC.bit("ARD", 9)  // auto-read done

	EERD       = one("EERD", 0x10014, RW, "8.2.3.2")
	EERD_START = EERD.bit("START", 0)
	EERD_DONE  = EERD.bit("DONE", 1)
	EERD_ADDR  = EERD.bits("ADDR", 15, 2)
	EERD_DATA  = EERD.bits("DATA", 31, 16)

	SWSM         = one("SWSM", 0x10140, RS, "8.2.3.4")
	SWSM_SMBI    = SWSM.bit("SMBI", 0)    // acquired by the read that returns 0
	SWSM_SWESMBI = SWSM.bit("SWESMBI", 1) // software, not firmware, may change SW_FW_SYNC

	FWSM = one("FWSM", 0x10148, RO, "8.2.3.4")

	// Two bits per resource: software's and, 5 higher, firmware's. On an X540 and X550
	// reading it acquires REGSMP, which the other bits need.
	SW_FW_SYNC         = one("SW_FW_SYNC", 0x10160, RS, "8.2.3.4")
	SW_FW_SYNC_FLASH   = SW_FW_SYNC.bit("FLASH", 4) // of an X540: the device has the NVM
	SW_FW_SYNC_MNG     = SW_FW_SYNC.resource("MNG", 10)
	SW_FW_SYNC_REGSMP  = SW_FW_SYNC.bit("REGSMP", 31)
	SW_FW_SYNC_EEPROM  = SW_FW_SYNC.resource("EEPROM", 0)
	SW_FW_SYNC_PHY0    = SW_FW_SYNC.resource("PHY0", 1) // two-wire bus of port 0
	SW_FW_SYNC_PHY1    = SW_FW_SYNC.resource("PHY1", 2)
	SW_FW_SYNC_MAC_CSR = SW_FW_SYNC.resource("MAC_CSR", 3)

	// The host interface of an X550: commands to the firmware.
	HICR     = one("HICR", 0x15F00, RW, "8.2.3.4")
	HICR_EN  = HICR.bit("EN", 0)
	HICR_C   = HICR.bit("C", 1)  // a command is in FLEX_MNG, cleared when it has been carried out
	HICR_SV  = HICR.bit("SV", 2) // it was
	FLEX_MNG = array("FLEX_MNG", each(0x15800, 4, 64), RW, "8.2.3.4", OfX550)

	GCR_EXT               = one("GCR_EXT", 0x11050, RW, "8.2.3.4")
	GCR_EXT_VT_MODE       = GCR_EXT.bits("VT_MODE", 1, 0)    // pools: 0 none, 2 = 32, 3 = 64
	GCR_EXT_BUFFERS_CLEAR = GCR_EXT.bit("BUFFERS_CLEAR", 30) // flushes the data path
)

// Interrupts (8.2.3.5). EICS, EIMS and EIMC have the bits of EICR.
var (
	EICR          = one("EICR", 0x00800, RC, "8.2.3.5")
	EICR_VECTORS  = EICR.bits("VECTORS", 15, 0)
	EICR_MAILBOX  = EICR.bit("MAILBOX", 19)  // a message or reset of a virtual function
	EICR_LSC      = EICR.bit("LSC", 20)      // link status change
	EICR_TS       = EICR.bit("TS", 23)       // of an X540 and X550: it is too hot
	EICR_GPI_SDP0 = EICR.bit("GPI_SDP0", 24) // input SDP0 has changed
	EICR_GPI_SDP1 = EICR.bit("GPI_SDP1", 25)
	EICR_GPI_SDP2 = EICR.bit("GPI_SDP2", 26)
	EICR_ECC      = EICR.bit("ECC", 28)   // error in the device's internal memory
	EICR_OTHER    = EICR.bit("OTHER", 31) // in EIMS: causes other than queues

	EICS = one("EICS", 0x00808, RO, "8.2.3.5") // reads as EICR, without clearing it
	EIAC = one("EIAC", 0x00810, RW, "8.2.3.5")
	EIMS = one("EIMS", 0x00880, RW, "8.2.3.5")
	EIMC = one("EIMC", 0x00888, WO, "8.2.3.5")

	GPIE               = one("GPIE", 0x00898, RW, "8.2.3.5")
	GPIE_SDP0_GPIEN    = GPIE.bit("SDP0_GPIEN", 0) // SDP0 may interrupt
	GPIE_SDP1_GPIEN    = GPIE.bit("SDP1_GPIEN", 1)
	GPIE_SDP2_GPIEN    = GPIE.bit("SDP2_GPIEN", 2)
	GPIE_MULTIPLE_MSIX = GPIE.bit("MULTIPLE_MSIX", 4)
	GPIE_OCD           = GPIE.bit("OCD", 5)    // reading EICR does not clear queue causes
	GPIE_EIAME         = GPIE.bit("EIAME", 30) // EIAM applies to MSI-X too
	GPIE_PBA_SUPPORT   = GPIE.bit("PBA_SUPPORT", 31)

	IVAR_MISC           = one("IVAR_MISC", 0x00A00, RW, "8.2.3.5")
	IVAR_MISC_OTHER     = IVAR_MISC.bits("OTHER", 13, 8) // vector of causes other than queues
	IVAR_MISC_OTHER_VAL = IVAR_MISC.bit("OTHER_VAL", 15)

	// Vectors of receive queues 2i and 2i+1.
	IVAR          = array("IVAR", each(0x00900, 4, 64), RW, "8.2.3.5", PerQueuePair)
	IVAR_RX       = [2]Field{IVAR.bits("RX0", 5, 0), IVAR.bits("RX1", 21, 16)}
	IVAR_RX_VALID = [2]Field{IVAR.bit("RX_VALID0", 7), IVAR.bit("RX_VALID1", 23)}

	// Moderation of a vector.
	EITR          = array("EITR", each(0x00820, 4, 64).from(24, 0x12300), RW, "8.2.3.5", PerVector)
	EITR_INTERVAL = EITR.bits("INTERVAL", 11, 3) // shortest time between two messages, 2.048 us at 1 and 10 Gb/s
	EITR_CNT_WDIS = EITR.bit("CNT_WDIS", 31)     // this store does not change the running counter

	// Vectors 0-31 and 32-63.
	EICS_EX = array("EICS_EX", each(0x00A90, 4, 2), WO, "8.2.3.5", All) // raises
	EIMS_EX = array("EIMS_EX", each(0x00AA0, 4, 2), RW, "8.2.3.5", All) // enables
	EIMC_EX = array("EIMC_EX", each(0x00AB0, 4, 2), WO, "8.2.3.5", All) // masks
	EIAM_EX = array("EIAM_EX", each(0x00AD0, 4, 2), RW, "8.2.3.5", All) // masks when the vector fires
)

// Flow control (8.2.3.3).
var (
	FCRTV      = one("FCRTV", 0x032A0, RW, "8.2.3.3")
	FCCFG      = one("FCCFG", 0x03D00, RW, "8.2.3.3")
	FCCFG_TFCE = FCCFG.bits("TFCE", 4, 3)
	FCTTV      = array("FCTTV", each(0x03200, 4, 4), RW, "8.2.3.3", All) // pause times

	// Thresholds of a packet buffer.
	FCRTL     = array("FCRTL", each(0x03220, 4, 8), RW, "8.2.3.3", All)
	FCRTH     = array("FCRTH", each(0x03260, 4, 8), RW, "8.2.3.3", All)
	FCRTH_RTH = FCRTH.bits("RTH", 18, 5) // 32 bytes
)

// Receive filters and hashing (8.2.3.7).
var (
	FCTRL     = one("FCTRL", 0x05080, RW, "8.2.3.7")
	FCTRL_SBP = FCTRL.bit("SBP", 1)  // store bad packets
	FCTRL_MPE = FCTRL.bit("MPE", 8)  // multicast promiscuous
	FCTRL_UPE = FCTRL.bit("UPE", 9)  // unicast promiscuous
	FCTRL_BAM = FCTRL.bit("BAM", 10) // accept broadcast

	EXVET         = one("EXVET", 0x05078, RW, "8.2.3.7")
	EXVET_VET_EXT = EXVET.bits("VET_EXT", 31, 16) // EtherType of outer tags

	VLNCTRL     = one("VLNCTRL", 0x05088, RW, "8.2.3.7")
	VLNCTRL_VET = VLNCTRL.bits("VET", 15, 0)
	VLNCTRL_VFE = VLNCTRL.bit("VFE", 30) // VLAN filter

	RXCSUM        = one("RXCSUM", 0x05000, RW, "8.2.3.7")
	RXCSUM_IPPCSE = RXCSUM.bit("IPPCSE", 12)
	RXCSUM_PCSD   = RXCSUM.bit("PCSD", 13) // the hash, not the fragment checksum, in the descriptor

	RFCTL         = one("RFCTL", 0x05008, RW, "8.2.3.7")
	RFCTL_RSC_DIS = RFCTL.bit("RSC_DIS", 5) // no receive side coalescing

	MRQC          = one("MRQC", 0x05818, RW, "8.2.3.7")
	MRQC_MRQE     = MRQC.bits("MRQE", 3, 0) // multiple queues: 1 = RSS
	MRQC_TCP_IPV4 = MRQC.bit("TCP_IPV4", 16)
	MRQC_IPV4     = MRQC.bit("IPV4", 17)
	MRQC_IPV6     = MRQC.bit("IPV6", 20)
	MRQC_TCP_IPV6 = MRQC.bit("TCP_IPV6", 21)
	MRQC_UDP_IPV4 = MRQC.bit("UDP_IPV4", 22)
	MRQC_UDP_IPV6 = MRQC.bit("UDP_IPV6", 23)

	// Receive addresses.
	RAL    = array("RAL", each(0x0A200, 8, 128), RW, "8.2.3.7", First)
	RAH    = array("RAH", each(0x0A204, 8, 128), RW, "8.2.3.7", First)
	RAH_AV = RAH.bit("AV", 31)

	RETA       = array("RETA", each(0x05C00, 4, 32), RW, "8.2.3.7", All) // indirection table, also at 0x0EB00
	RETA_ENTRY = RETA.four("ENTRY", 4)
	ERETA      = array("ERETA", each(0x0EE80, 4, 96), RW, "X550", OfX550) // entries 128 to 511
	RSSRK      = array("RSSRK", each(0x05C80, 4, 10), RW, "8.2.3.7", All) // RSS key, also at 0x0EB80
)

// Filters that select a queue (8.2.3.7).
var (
	ETQF           = array("ETQF", each(0x05128, 4, 8), RW, "8.2.3.7", All)
	ETQF_ETYPE     = ETQF.bits("ETYPE", 15, 0)
	ETQF_1588      = ETQF.bit("1588", 30) // its frames can be PTP messages
	ETQF_FILTER_EN = ETQF.bit("FILTER_EN", 31)
	ETQS           = array("ETQS", each(0x0EC00, 4, 8), RW, "8.2.3.7", All)
	ETQS_RX_QUEUE  = ETQS.bits("RX_QUEUE", 22, 16)
	ETQS_QUEUE_EN  = ETQS.bit("QUEUE_EN", 31)

	SYNQF          = one("SYNQF", 0x0EC30, RW, "8.2.3.7")
	SYNQF_QUEUE_EN = SYNQF.bit("QUEUE_EN", 0)
	SYNQF_RX_QUEUE = SYNQF.bits("RX_QUEUE", 7, 1)
	SYNQF_SYNQFP   = SYNQF.bit("SYNQFP", 31) // before the 5-tuple filters, not after them

	// 5-tuple filters. Addresses and ports are in the order of the wire, the first byte
	// in the lowest bits.
	SAQF              = array("SAQF", each(0x0E000, 4, 128), RW, "8.2.3.7", All)
	DAQF              = array("DAQF", each(0x0E200, 4, 128), RW, "8.2.3.7", All)
	SDPQF             = array("SDPQF", each(0x0E400, 4, 128), RW, "8.2.3.7", All) // source port, then destination port
	FTQF              = array("FTQF", each(0x0E600, 4, 128), RW, "8.2.3.7", All)
	FTQF_PROTOCOL     = FTQF.bits("PROTOCOL", 1, 0) // 0 TCP, 1 UDP, 2 SCTP, 3 others
	FTQF_PRIORITY     = FTQF.bits("PRIORITY", 4, 2) // 7 is the highest
	FTQF_MASK         = FTQF.bits("MASK", 29, 25)   // fields that are not compared
	FTQF_POOL_MASK    = FTQF.bit("POOL_MASK", 30)
	FTQF_QUEUE_ENABLE = FTQF.bit("QUEUE_ENABLE", 31)
	L34TIMIR          = array("L34TIMIR", each(0x0E800, 4, 128), RW, "8.2.3.7", All)
	L34TIMIR_SIZE_BP  = L34TIMIR.bit("SIZE_BP", 12)
	L34TIMIR_RESERVED = L34TIMIR.bits("RESERVED", 19, 13) // must be 1000000b
	L34TIMIR_RX_QUEUE = L34TIMIR.bits("RX_QUEUE", 27, 21)
)

// Flow Director (8.2.3.21).
var (
	FDIRCTRL               = one("FDIRCTRL", 0x0EE00, RW, "8.2.3.21")
	FDIRCTRL_PBALLOC       = FDIRCTRL.bits("PBALLOC", 1, 0) // share of the packet buffer: 64 KiB << (n-1)
	FDIRCTRL_INIT_DONE     = FDIRCTRL.bit("INIT_DONE", 3)
	FDIRCTRL_PERFECT_MATCH = FDIRCTRL.bit("PERFECT_MATCH", 4)
	FDIRCTRL_DROP_QUEUE    = FDIRCTRL.bits("DROP_QUEUE", 14, 8)
	FDIRCTRL_FLEX_OFFSET   = FDIRCTRL.bits("FLEX_OFFSET", 20, 16) // of the flexible bytes, 2 bytes
	FDIRCTRL_MAX_LENGTH    = FDIRCTRL.bits("MAX_LENGTH", 27, 24)  // of a bucket's list
	FDIRCTRL_FULL_THRESH   = FDIRCTRL.bits("FULL_THRESH", 31, 28)

	FDIRHKEY = one("FDIRHKEY", 0x0EE68, RW, "8.2.3.21") // key of the bucket hash
	FDIRSKEY = one("FDIRSKEY", 0x0EE6C, RW, "8.2.3.21") // key of the signature hash

	// Fields that are not compared.
	FDIRM        = one("FDIRM", 0x0EE70, RW, "8.2.3.21")
	FDIRM_VLANID = FDIRM.bit("VLANID", 0)
	FDIRM_VLANP  = FDIRM.bit("VLANP", 1)
	FDIRM_POOL   = FDIRM.bit("POOL", 2)
	FDIRM_L4P    = FDIRM.bit("L4P", 3)
	FDIRM_FLEX   = FDIRM.bit("FLEX", 4)
	FDIRM_DIPV6  = FDIRM.bit("DIPV6", 5)
	FDIRDIP4M    = one("FDIRDIP4M", 0x0EE3C, RW, "8.2.3.21")
	FDIRSIP4M    = one("FDIRSIP4M", 0x0EE40, RW, "8.2.3.21")
	FDIRTCPM     = one("FDIRTCPM", 0x0EE44, RW, "8.2.3.21") // bits of ports in reverse order
	FDIRUDPM     = one("FDIRUDPM", 0x0EE48, RW, "8.2.3.21")
	FDIRSCTPM    = one("FDIRSCTPM", 0x0EE78, RW, "8.2.3.21")
	FDIRIP6M     = one("FDIRIP6M", 0x0EE74, RW, "8.2.3.21") // a bit a byte: source, then destination

	// The filter of a command. Addresses are in the order of the wire.
	FDIRSIPV6     = array("FDIRSIPV6", each(0x0EE0C, 4, 3), RW, "8.2.3.21", All)
	FDIRIPSA      = one("FDIRIPSA", 0x0EE18, RW, "8.2.3.21")
	FDIRIPDA      = one("FDIRIPDA", 0x0EE1C, RW, "8.2.3.21")
	FDIRPORT      = one("FDIRPORT", 0x0EE20, RW, "8.2.3.21")
	FDIRPORT_SRC  = FDIRPORT.bits("SRC", 15, 0)
	FDIRPORT_DST  = FDIRPORT.bits("DST", 31, 16)
	FDIRVLAN      = one("FDIRVLAN", 0x0EE24, RW, "8.2.3.21")
	FDIRVLAN_VLAN = FDIRVLAN.bits("VLAN", 15, 0)
	FDIRVLAN_FLEX = FDIRVLAN.bits("FLEX", 31, 16) // in the order of the wire
	FDIRHASH      = one("FDIRHASH", 0x0EE28, RW, "8.2.3.21")
	FDIRHASH_HASH = FDIRHASH.bits("HASH", 14, 0)
	FDIRHASH_ID   = FDIRHASH.bits("ID", 30, 16) // index of a perfect filter, signature

	FDIRCMD               = one("FDIRCMD", 0x0EE2C, RW, "8.2.3.21")
	FDIRCMD_CMD           = FDIRCMD.bits("CMD", 1, 0) // 1 = add; reads 0 once the command is done
	FDIRCMD_FILTER_UPDATE = FDIRCMD.bit("FILTER_UPDATE", 3)
	FDIRCMD_L4TYPE        = FDIRCMD.bits("L4TYPE", 6, 5) // 1 UDP, 2 TCP, 3 SCTP
	FDIRCMD_IPV6          = FDIRCMD.bit("IPV6", 7)
	FDIRCMD_CLEARHT       = FDIRCMD.bit("CLEARHT", 8)
	FDIRCMD_DROP          = FDIRCMD.bit("DROP", 9)
	FDIRCMD_LAST          = FDIRCMD.bit("LAST", 11)
	FDIRCMD_QUEUE_EN      = FDIRCMD.bit("QUEUE_EN", 15)
	FDIRCMD_RX_QUEUE      = FDIRCMD.bits("RX_QUEUE", 22, 16)

	FDIRFREE  = one("FDIRFREE", 0x0EE38, RO, "8.2.3.21") // filters that can be added
	FDIRMATCH = one("FDIRMATCH", 0x0EE58, RC, "8.2.3.21")
	FDIRMISS  = one("FDIRMISS", 0x0EE5C, RC, "8.2.3.21")
)

// Receive DMA (8.2.3.8, 8.2.3.11, 8.2.3.13).
var (
	RDBAL = array("RDBAL", rxQueue(0x00), RW, "8.2.3.8", PerQueue) // ring address, lower half
	RDBAH = array("RDBAH", rxQueue(0x04), RW, "8.2.3.8", PerQueue) // upper half
	RDLEN = array("RDLEN", rxQueue(0x08), RW, "8.2.3.8", PerQueue) // bytes
	RDH   = array("RDH", rxQueue(0x10), RO, "8.2.3.8", PerQueue)   // next descriptor that the device fills
	RDT   = array("RDT", rxQueue(0x18), RW, "8.2.3.8", PerQueue)   // one past the last posted descriptor

	SRRCTL             = array("SRRCTL", rxQueue(0x14), RW, "8.2.3.8", PerQueue) // queues 0-15 also at 0x2100
	SRRCTL_BSIZEPACKET = SRRCTL.bits("BSIZEPACKET", 4, 0)
	SRRCTL_BSIZEHEADER = SRRCTL.bits("BSIZEHEADER", 13, 8)
	SRRCTL_DESCTYPE    = SRRCTL.bits("DESCTYPE", 27, 25) // 1 = advanced, one buffer
	SRRCTL_DROP_EN     = SRRCTL.bit("DROP_EN", 28)

	DCA_RXCTRL          = array("DCA_RXCTRL", rxQueue(0x0C), RW, "8.2.3.11", PerQueue) // queues 0-15 also at 0x2200
	DCA_RXCTRL_RESERVED = DCA_RXCTRL.bit("RESERVED", 12)                               // reads 1, must be written 0 (4.6.7)

	RXDCTL        = array("RXDCTL", rxQueue(0x28), RW, "8.2.3.8", PerQueue)
	RXDCTL_ENABLE = RXDCTL.bit("ENABLE", 25)
	RXDCTL_VME    = RXDCTL.bit("VME", 30) // strip VLAN tags

	RSCCTL       = array("RSCCTL", rxQueue(0x2C), RW, "8.2.3.8", PerQueue)
	RSCCTL_RSCEN = RSCCTL.bit("RSCEN", 0)

	RDRXCTL             = one("RDRXCTL", 0x02F00, RW, "8.2.3.8")
	RDRXCTL_CRCSTRIP    = RDRXCTL.bit("CRCSTRIP", 1)
	RDRXCTL_DMAIDONE    = RDRXCTL.bit("DMAIDONE", 3)
	RDRXCTL_RSCFRSTSIZE = RDRXCTL.bits("RSCFRSTSIZE", 21, 17) // must be 0
	RDRXCTL_RSCACKC     = RDRXCTL.bit("RSCACKC", 25)          // must be 1
	RDRXCTL_FCOE_WRFIX  = RDRXCTL.bit("FCOE_WRFIX", 26)       // must be 1

	RXCTRL      = one("RXCTRL", 0x03000, RW, "8.2.3.8")
	RXCTRL_RXEN = RXCTRL.bit("RXEN", 0)

	RSCDBU           = one("RSCDBU", 0x03028, RW, "8.2.3.8")
	RSCDBU_RSCACKDIS = RSCDBU.bit("RSCACKDIS", 7)

	RXPBSIZE      = array("RXPBSIZE", each(0x03C00, 4, 8), RW, "8.2.3.8", All)
	RXPBSIZE_SIZE = RXPBSIZE.bits("SIZE", 19, 10) // KiB

	SECRXCTRL           = one("SECRXCTRL", 0x08D00, RW, "8.2.3.13")
	SECRXCTRL_RX_DIS    = SECRXCTRL.bit("RX_DIS", 1)
	SECRXSTAT           = one("SECRXSTAT", 0x08D04, RO, "8.2.3.13")
	SECRXSTAT_SECRX_RDY = SECRXSTAT.bit("SECRX_RDY", 0)
)

// Transmit (8.2.3.9, 8.2.3.10, 8.2.3.11).
var (
	DMATXCTL     = one("DMATXCTL", 0x04A80, RW, "8.2.3.9")
	DMATXCTL_TE  = DMATXCTL.bit("TE", 0)
	DMATXCTL_GDV = DMATXCTL.bit("GDV", 3) // frames have an outer tag

	DTXMXSZRQ           = one("DTXMXSZRQ", 0x08100, RW, "8.2.3.9")
	DTXMXSZRQ_MAX_BYTES = DTXMXSZRQ.bits("MAX_BYTES", 11, 0)

	MTQC        = one("MTQC", 0x08120, RW, "8.2.3.9")
	MTQC_VT_ENA = MTQC.bit("VT_ENA", 1)
	MTQC_NUM    = MTQC.bits("NUM", 3, 2) // with VT_ENA: 1 = 64 pools, 2 = 32

	RTTDCS        = one("RTTDCS", 0x04900, RW, "8.2.3.10")
	RTTDCS_ARBDIS = RTTDCS.bit("ARBDIS", 6)

	TXPBSIZE      = array("TXPBSIZE", each(0x0CC00, 4, 8), RW, "8.2.3.9", All)
	TXPBSIZE_SIZE = TXPBSIZE.bits("SIZE", 19, 10) // KiB

	// Free space that a packet buffer must have for one more packet.
	TXPBTHRESH        = array("TXPBTHRESH", each(0x04950, 4, 8), RW, "8.2.3.9", All)
	TXPBTHRESH_THRESH = TXPBTHRESH.bits("THRESH", 9, 0) // KiB

	TDBAL = array("TDBAL", txQueue(0x00), RW, "8.2.3.9", PerQueue) // ring address, lower half
	TDBAH = array("TDBAH", txQueue(0x04), RW, "8.2.3.9", PerQueue) // upper half
	TDLEN = array("TDLEN", txQueue(0x08), RW, "8.2.3.9", PerQueue) // bytes
	TDH   = array("TDH", txQueue(0x10), RO, "8.2.3.9", PerQueue)   // next descriptor that the device sends
	TDT   = array("TDT", txQueue(0x18), RW, "8.2.3.9", PerQueue)   // one past the last descriptor to send

	// Where the device writes TDH, instead of DD in descriptors with RS.
	TDWBAL            = array("TDWBAL", txQueue(0x38), RW, "8.2.3.9", PerQueue)
	TDWBAL_HEAD_WB_EN = TDWBAL.bit("HEAD_WB_EN", 0)
	TDWBAH            = array("TDWBAH", txQueue(0x3C), RW, "8.2.3.9", PerQueue)

	// Rate limit of the queue that RTTDQSEL selects: the link's speed divided by RF,
	// which has 14 bits behind the point.
	RTTDQSEL          = one("RTTDQSEL", 0x04904, RW, "8.2.3.10")
	RTTDQSEL_TXDQ_IDX = RTTDQSEL.bits("TXDQ_IDX", 6, 0)
	RTTBCNRM          = one("RTTBCNRM", 0x04980, RW, "8.2.3.10")
	RTTBCNRM_MMW_SIZE = RTTBCNRM.bits("MMW_SIZE", 11, 0) // KiB by which a queue may catch up
	RTTBCNRC          = one("RTTBCNRC", 0x04984, RW, "8.2.3.10")
	RTTBCNRC_RF       = RTTBCNRC.bits("RF", 23, 0)
	RTTBCNRC_RS_ENA   = RTTBCNRC.bit("RS_ENA", 31)

	DCA_TXCTRL          = array("DCA_TXCTRL", txQueue(0x0C), RW, "8.2.3.11", PerQueue)
	DCA_TXCTRL_DESC_WRO = DCA_TXCTRL.bit("DESC_WRO", 11) // relaxed ordering of write-backs

	TXDCTL         = array("TXDCTL", txQueue(0x28), RW, "8.2.3.9", PerQueue)
	TXDCTL_PTHRESH = TXDCTL.bits("PTHRESH", 6, 0)
	TXDCTL_HTHRESH = TXDCTL.bits("HTHRESH", 14, 8)
	TXDCTL_WTHRESH = TXDCTL.bits("WTHRESH", 22, 16)
	TXDCTL_ENABLE  = TXDCTL.bit("ENABLE", 25)
)

// MAC and link (8.2.3.22).
var (
	HLREG0              = one("HLREG0", 0x04240, RW, "8.2.3.22")
	HLREG0_TXCRCEN      = HLREG0.bit("TXCRCEN", 0)
	HLREG0_RXCRCSTRP    = HLREG0.bit("RXCRCSTRP", 1)
	HLREG0_JUMBOEN      = HLREG0.bit("JUMBOEN", 2)
	HLREG0_TXPADEN      = HLREG0.bit("TXPADEN", 10)
	HLREG0_LPBK         = HLREG0.bit("LPBK", 15)
	HLREG0_RXLNGTHERREN = HLREG0.bit("RXLNGTHERREN", 27) // a wrong length field makes a frame bad

	MAXFRS     = one("MAXFRS", 0x04268, RW, "8.2.3.22")
	MAXFRS_MFS = MAXFRS.bits("MFS", 31, 16) // bytes, with CRC, without VLAN tag

	MFLCN       = one("MFLCN", 0x04294, RW, "8.2.3.22")
	MFLCN_PMCF  = MFLCN.bit("PMCF", 0) // pass MAC control frames
	MFLCN_DPF   = MFLCN.bit("DPF", 1)  // discard pause frames
	MFLCN_RPFCE = MFLCN.bit("RPFCE", 2)
	MFLCN_RFCE  = MFLCN.bit("RFCE", 3)

	AUTOC            = one("AUTOC", 0x042A0, RW, "8.2.3.22")
	AUTOC_FLU        = AUTOC.bit("FLU", 0)
	AUTOC_1G_PMA_PMD = AUTOC.bit("1G_PMA_PMD", 9) // 0 = SFI
	AUTOC_RESTART_AN = AUTOC.bit("RESTART_AN", 12)
	AUTOC_LMS        = AUTOC.bits("LMS", 15, 13) // LMS_ constants

	LINKS            = one("LINKS", 0x042A4, RO, "8.2.3.22")
	LINKS_LINK_SPEED = LINKS.bits("LINK_SPEED", 29, 28)
	LINKS_LINK_UP    = LINKS.bit("LINK_UP", 30)

	PCS1GLSTA             = one("PCS1GLSTA", 0x0420C, RO, "8.2.3.22")
	PCS1GLSTA_AN_COMPLETE = PCS1GLSTA.bit("AN_COMPLETE", 16)

	AUTOC2                    = one("AUTOC2", 0x042A8, RW, "8.2.3.22")
	AUTOC2_10G_PMA_PMD_SERIAL = AUTOC2.bits("10G_PMA_PMD_SERIAL", 17, 16)

	// MDIO bus to a PHY.
	MSCA           = one("MSCA", 0x0425C, RW, "8.2.3.22")
	MSCA_ADDRESS   = MSCA.bits("ADDRESS", 15, 0) // of the register
	MSCA_MMD       = MSCA.bits("MMD", 20, 16)
	MSCA_PHY       = MSCA.bits("PHY", 25, 21)
	MSCA_OPERATION = MSCA.bits("OPERATION", 27, 26) // MDIO_ constants
	MSCA_COMMAND   = MSCA.bit("COMMAND", 30)        // clears itself
	MSRWD          = one("MSRWD", 0x04260, RW, "8.2.3.22")
	MSRWD_WRITE    = MSRWD.bits("WRITE", 15, 0)
	MSRWD_READ     = MSRWD.bits("READ", 31, 16)

	CORECTL = one("CORECTL", 0x14F00, RW, "8.2.3.22") // analog settings
)

// Operations of MSCA_OPERATION.
const (
	MDIO_ADDRESS = 0
	MDIO_WRITE   = 1
	MDIO_READ    = 3
)

// Modes of an LED, LEDCTL_MODE.
const (
	LED_LINK_ACTIVE = 0x4
	LED_ON          = 0xe
	LED_OFF         = 0xf
)

// Link mode select, AUTOC_LMS.
const (
	LMS_1G_NO_AN   = 0
	LMS_1G_AN      = 2
	LMS_10G_SERIAL = 3

	PMA_PMD_SERIAL_SFI = 2 // AUTOC2_10G_PMA_PMD_SERIAL
)

// Time stamps (8.2.3.26). Loading the low half of the clock latches the high one; loading
// the high half of a stamp releases it.
var (
	TSYNCRXCTL       = one("TSYNCRXCTL", 0x05188, RW, "8.2.3.26")
	TSYNCRXCTL_VALID = TSYNCRXCTL.bit("VALID", 0)
	TSYNCRXCTL_TYPE  = TSYNCRXCTL.bits("TYPE", 3, 1)
	TSYNCRXCTL_EN    = TSYNCRXCTL.bit("EN", 4)

	RXMTRL           = one("RXMTRL", 0x05120, RW, "8.2.3.26")
	RXMTRL_UDPT      = RXMTRL.bits("UDPT", 31, 16)
	RXSTMPL          = one("RXSTMPL", 0x051E8, RO, "8.2.3.26")
	RXSTMPH          = one("RXSTMPH", 0x051A4, RC, "8.2.3.26")
	RXSATRH          = one("RXSATRH", 0x051A8, RO, "8.2.3.26")
	RXSATRH_SEQUENCE = RXSATRH.bits("SEQUENCE", 31, 16)

	TSYNCTXCTL       = one("TSYNCTXCTL", 0x08C00, RW, "8.2.3.26")
	TSYNCTXCTL_VALID = TSYNCTXCTL.bit("VALID", 0)
	TSYNCTXCTL_EN    = TSYNCTXCTL.bit("EN", 4)
	TXSTMPL          = one("TXSTMPL", 0x08C04, RO, "8.2.3.26")
	TXSTMPH          = one("TXSTMPH", 0x08C08, RC, "8.2.3.26")

	SYSTIML    = one("SYSTIML", 0x08C0C, RC, "8.2.3.26")
	SYSTIMH    = one("SYSTIMH", 0x08C10, RO, "8.2.3.26")
	TIMINCA    = one("TIMINCA", 0x08C14, RW, "8.2.3.26")
	TIMINCA_IV = TIMINCA.bits("IV", 23, 0)  // added to SYSTIM
	TIMINCA_IP = TIMINCA.bits("IP", 31, 24) // every so many cycles
)

// TSYNC_EVENT_V2 in TSYNCRXCTL_TYPE: all event messages of version 2.
const TSYNC_EVENT_V2 = 5

// Statistics (8.2.3.23). A pair of registers is one counter of 36 bits.
var (
	CRCERRS = one("CRCERRS", 0x04000, RC, "8.2.3.23") // CRC errors
	ILLERRC = one("ILLERRC", 0x04004, RC, "8.2.3.23") // frames with illegal bytes
	ERRBC   = one("ERRBC", 0x04008, RC, "8.2.3.23")   // frames with error bytes
	RLEC    = one("RLEC", 0x04040, RC, "8.2.3.23")    // length field and length differ
	RUC     = one("RUC", 0x040A4, RC, "8.2.3.23")     // undersize
	RFC     = one("RFC", 0x040A8, RC, "8.2.3.23")     // fragments: undersize, CRC bad
	ROC     = one("ROC", 0x040AC, RC, "8.2.3.23")     // oversize
	RJC     = one("RJC", 0x040B0, RC, "8.2.3.23")     // jabber: oversize, CRC bad
	GPRC    = one("GPRC", 0x04074, RC, "8.2.3.23")    // good frames that reached the port
	GORCL   = one("GORCL", 0x04088, RC, "8.2.3.23")   // their bytes
	GORCH   = one("GORCH", 0x0408C, RC, "8.2.3.23")
	GPTC    = one("GPTC", 0x04080, RC, "8.2.3.23")  // good frames sent
	GOTCL   = one("GOTCL", 0x04090, RC, "8.2.3.23") // their bytes
	GOTCH   = one("GOTCH", 0x04094, RC, "8.2.3.23")

	BPRC  = one("BPRC", 0x04078, RC, "8.2.3.23") // good broadcast frames
	MPRC  = one("MPRC", 0x0407C, RC, "8.2.3.23") // good multicast frames
	TPR   = one("TPR", 0x040D0, RC, "8.2.3.23")  // all frames, bad ones included
	TORL  = one("TORL", 0x040C0, RC, "8.2.3.23") // their bytes
	TORH  = one("TORH", 0x040C4, RC, "8.2.3.23")
	MSPDC = one("MSPDC", 0x04010, RC, "8.2.3.23") // short packets discarded by the MAC
	XEC   = one("XEC", 0x04120, RC, "8.2.3.23")   // wrong checksums of IPv4, TCP, UDP, SCTP
	MLFC  = one("MLFC", 0x04034, RC, "8.2.3.23")  // local faults
	MRFC  = one("MRFC", 0x04038, RC, "8.2.3.23")  // remote faults

	// Good received frames by length with CRC.
	PRC64   = one("PRC64", 0x0405C, RC, "8.2.3.23")
	PRC127  = one("PRC127", 0x04060, RC, "8.2.3.23")
	PRC255  = one("PRC255", 0x04064, RC, "8.2.3.23")
	PRC511  = one("PRC511", 0x04068, RC, "8.2.3.23")
	PRC1023 = one("PRC1023", 0x0406C, RC, "8.2.3.23")
	PRC1522 = one("PRC1522", 0x04070, RC, "8.2.3.23") // 1024 to the longest

	// Good frames before the filters, and those written to memory.
	RXNFGPC  = one("RXNFGPC", 0x041B0, RC, "8.2.3.23")
	RXNFGBCL = one("RXNFGBCL", 0x041B4, RC, "8.2.3.23")
	RXNFGBCH = one("RXNFGBCH", 0x041B8, RC, "8.2.3.23")
	RXDGPC   = one("RXDGPC", 0x02F50, RC, "8.2.3.23")
	RXDGBCL  = one("RXDGBCL", 0x02F54, RC, "8.2.3.23")
	RXDGBCH  = one("RXDGBCH", 0x02F58, RC, "8.2.3.23")

	// Sent frames by length with CRC.
	TPT     = one("TPT", 0x040D4, RC, "8.2.3.23") // all
	PTC64   = one("PTC64", 0x040D8, RC, "8.2.3.23")
	PTC127  = one("PTC127", 0x040DC, RC, "8.2.3.23")
	PTC255  = one("PTC255", 0x040E0, RC, "8.2.3.23")
	PTC511  = one("PTC511", 0x040E4, RC, "8.2.3.23")
	PTC1023 = one("PTC1023", 0x040E8, RC, "8.2.3.23")
	PTC1522 = one("PTC1522", 0x040EC, RC, "8.2.3.23")
	MPTC    = one("MPTC", 0x040F0, RC, "8.2.3.23")
	BPTC    = one("BPTC", 0x040F4, RC, "8.2.3.23")
	TXDGPC  = one("TXDGPC", 0x087A0, RC, "8.2.3.23") // frames of the host
	TXDGBCL = one("TXDGBCL", 0x087A4, RC, "8.2.3.23")
	TXDGBCH = one("TXDGBCH", 0x087A8, RC, "8.2.3.23")
	SSVPC   = one("SSVPC", 0x08780, RC, "8.2.3.23") // dropped: forged source of a virtual function

	// Pause frames, of the link and by priority.
	LXONTXC     = one("LXONTXC", 0x03F60, RC, "8.2.3.23")
	LXOFFTXC    = one("LXOFFTXC", 0x03F68, RC, "8.2.3.23")
	LXONRXCNT   = one("LXONRXCNT", 0x041A4, RC, "8.2.3.23")
	LXOFFRXCNT  = one("LXOFFRXCNT", 0x041A8, RC, "8.2.3.23")
	PXONTXC     = array("PXONTXC", each(0x03F00, 4, 8), RC, "8.2.3.23", All)
	PXOFFTXC    = array("PXOFFTXC", each(0x03F20, 4, 8), RC, "8.2.3.23", All)
	PXONRXCNT   = array("PXONRXCNT", each(0x04140, 4, 8), RC, "8.2.3.23", All)
	PXOFFRXCNT  = array("PXOFFRXCNT", each(0x04160, 4, 8), RC, "8.2.3.23", All)
	PXON2OFFCNT = array("PXON2OFFCNT", each(0x03240, 4, 8), RC, "8.2.3.23", All)

	// Frames of the management controller.
	MNGPRC = one("MNGPRC", 0x040B4, RC, "8.2.3.23")
	MNGPDC = one("MNGPDC", 0x040B8, RC, "8.2.3.23") // dropped
	MNGPTC = one("MNGPTC", 0x0CF90, RC, "8.2.3.23")

	// FCoE.
	FCCRC    = one("FCCRC", 0x05118, RC, "8.2.3.23")    // wrong CRCs of Fibre Channel
	FCOERPDC = one("FCOERPDC", 0x0241C, RC, "8.2.3.23") // dropped
	FCLAST   = one("FCLAST", 0x02424, RC, "8.2.3.23")   // last frames with an error
	FCOEPRC  = one("FCOEPRC", 0x02428, RC, "8.2.3.23")
	FCOEDWRC = one("FCOEDWRC", 0x0242C, RC, "8.2.3.23") // 32-bit words
	FCOEPTC  = one("FCOEPTC", 0x08784, RC, "8.2.3.23")
	FCOEDWTC = one("FCOEDWTC", 0x08788, RC, "8.2.3.23")

	RXMPC = array("RXMPC", each(0x03FA0, 4, 8), RC, "8.2.3.23", All) // missed: packet buffer full

	// Statistics counters of receive and transmit queues 4i to 4i+3.
	RQSMR   = array("RQSMR", each(0x02300, 4, 32), RW, "8.2.3.23", All)
	RQSMR_Q = RQSMR.four("Q", 4)
	TQSM    = array("TQSM", each(0x08600, 4, 32), RW, "8.2.3.23", All)
	TQSM_Q  = TQSM.four("Q", 4)

	// Statistics counters of queues, as mapped by RQSMR and TQSM.
	QPRC   = array("QPRC", each(0x01030, 0x40, 16), RC, "8.2.3.23", All)   // frames received
	QBRC_L = array("QBRC_L", each(0x01034, 0x40, 16), RC, "8.2.3.23", All) // their bytes
	QBRC_H = array("QBRC_H", each(0x01038, 0x40, 16), RC, "8.2.3.23", All)
	QPRDC  = array("QPRDC", each(0x01430, 0x40, 16), RC, "8.2.3.23", All) // dropped: no descriptor
	QPTC   = array("QPTC", each(0x08680, 4, 16), RC, "8.2.3.23", All)     // frames sent
	QBTC_L = array("QBTC_L", each(0x08700, 8, 16), RC, "8.2.3.23", All)   // their bytes
	QBTC_H = array("QBTC_H", each(0x08704, 8, 16), RC, "8.2.3.23", All)
)

// Virtualization: pools and virtual functions (8.2.3.27, 8.2.3.7, 8.2.3.8).
var (
	MCSTCTRL     = one("MCSTCTRL", 0x05090, RW, "8.2.3.7")
	MCSTCTRL_MFE = MCSTCTRL.bit("MFE", 2) // filter multicast by MTA

	MTA  = array("MTA", each(0x05200, 4, 128), RW, "8.2.3.7", First)
	VFTA = array("VFTA", each(0x0A000, 4, 128), RW, "8.2.3.7", First)

	MPSAR        = array("MPSAR", each(0x0A600, 4, 256), RW, "8.2.3.7", First) // pools of a receive address, two words each
	PSRTYPE      = array("PSRTYPE", each(0x0EA00, 4, 64), RW, "8.2.3.7", First)
	PSRTYPE_RQPL = PSRTYPE.bits("RQPL", 31, 29) // bits of the RSS index that a pool uses

	PFQDE             = one("PFQDE", 0x02F04, WO, "8.2.3.8")
	PFQDE_ENABLE      = PFQDE.bit("ENABLE", 0) // drop without descriptors
	PFQDE_HIDE_VLAN   = PFQDE.bit("HIDE_VLAN", 1)
	PFQDE_QUEUE_INDEX = PFQDE.bits("QUEUE_INDEX", 14, 8)
	PFQDE_WE          = PFQDE.bit("WE", 16)

	PFVTCTL           = one("PFVTCTL", 0x051B0, RW, "8.2.3.27")
	PFVTCTL_VT_ENA    = PFVTCTL.bit("VT_ENA", 0)
	PFVTCTL_DEF_PL    = PFVTCTL.bits("DEF_PL", 12, 7) // default pool
	PFVTCTL_DIS_DEFPL = PFVTCTL.bit("DIS_DEFPL", 29)
	PFVTCTL_RPL_EN    = PFVTCTL.bit("RPL_EN", 30) // replicate frames for several pools

	PFMAILBOX      = array("PFMAILBOX", each(0x04B00, 4, 64), RW, "8.2.3.27", First)
	PFMAILBOX_STS  = PFMAILBOX.bit("STS", 0)
	PFMAILBOX_ACK  = PFMAILBOX.bit("ACK", 1)
	PFMAILBOX_PFU  = PFMAILBOX.bit("PFU", 3)
	PFMAILBOX_RVFU = PFMAILBOX.bit("RVFU", 4)

	PFMBMEM = array("PFMBMEM", each(0x13000, 4, 1024), RW, "8.2.3.27", First) // 16 words of a function

	// Causes of 16 functions, cleared by writing ones.
	PFMBICR       = array("PFMBICR", each(0x00710, 4, 4), RW, "8.2.3.27", All)
	PFMBICR_VFREQ = PFMBICR.bits("VFREQ", 15, 0)
	PFMBICR_VFACK = PFMBICR.bits("VFACK", 31, 16)
	PFMBIMR       = array("PFMBIMR", each(0x00720, 4, 2), RW, "8.2.3.27", All)

	PFVFLRE  = array("PFVFLRE", each(0x00600, 4, 2).from(1, 0x001C0), RO, "8.2.3.27", All) // functions that were reset
	PFVFLREC = array("PFVFLREC", each(0x00700, 4, 2), WO, "8.2.3.27", All)                 // clears them
	PFVFRE   = array("PFVFRE", each(0x051E0, 4, 2), RW, "8.2.3.27", All)                   // pools that receive
	PFVFTE   = array("PFVFTE", each(0x08110, 4, 2), RW, "8.2.3.27", All)                   // and transmit

	PFVML2FLT       = array("PFVML2FLT", each(0x0F000, 4, 64), RW, "8.2.3.27", First) // L2 filter of a pool
	PFVML2FLT_AUPE  = PFVML2FLT.bit("AUPE", 24)                                       // untagged frames
	PFVML2FLT_ROMPE = PFVML2FLT.bit("ROMPE", 25)                                      // multicast by MTA
	PFVML2FLT_ROPE  = PFVML2FLT.bit("ROPE", 26)                                       // unicast by PFUTA
	PFVML2FLT_BAM   = PFVML2FLT.bit("BAM", 27)                                        // broadcast
	PFVML2FLT_MPE   = PFVML2FLT.bit("MPE", 28)                                        // all multicast

	PFVLVF         = array("PFVLVF", each(0x0F100, 4, 64), RW, "8.2.3.27", First) // VLANs
	PFVLVF_VLAN_ID = PFVLVF.bits("VLAN_ID", 11, 0)
	PFVLVF_VI_EN   = PFVLVF.bit("VI_EN", 31)
	PFVLVFB        = array("PFVLVFB", each(0x0F200, 4, 128), RW, "8.2.3.27", First) // pools of a VLAN, two words each
	PFUTA          = array("PFUTA", each(0x0F400, 4, 128), RW, "8.2.3.27", First)

	// Mirror rules: PFMRVLAN and PFMRVM have the low words of the four rules, then the
	// high ones.
	PFMRCTL      = array("PFMRCTL", each(0x0F600, 4, 4), RW, "8.2.3.27", All)
	PFMRCTL_VPME = PFMRCTL.bit("VPME", 0)    // pools
	PFMRCTL_UPME = PFMRCTL.bit("UPME", 1)    // uplink
	PFMRCTL_DPME = PFMRCTL.bit("DPME", 2)    // downlink
	PFMRCTL_VLME = PFMRCTL.bit("VLME", 3)    // VLANs
	PFMRCTL_MP   = PFMRCTL.bits("MP", 13, 8) // pool that gets the frames
	PFMRVLAN     = array("PFMRVLAN", each(0x0F610, 4, 8), RW, "8.2.3.27", All)
	PFMRVM       = array("PFMRVM", each(0x0F630, 4, 8), RW, "8.2.3.27", All)

	PFDTXGSWC     = one("PFDTXGSWC", 0x08220, RW, "8.2.3.27")
	PFDTXGSWC_LBE = PFDTXGSWC.bit("LBE", 0)                                       // switch between pools
	PFVFSPOOF     = array("PFVFSPOOF", each(0x08200, 4, 8), RW, "8.2.3.27", All)  // checks of 8 functions
	PFVMVIR       = array("PFVMVIR", each(0x08000, 4, 64), RW, "8.2.3.27", First) // port VLAN
	PFVMVIR_VLAN  = PFVMVIR.bits("VLAN", 15, 0)
	PFVMVIR_VLANA = PFVMVIR.bits("VLANA", 31, 30)                            // 1 = always insert it
	VMECM         = array("VMECM", each(0x08790, 4, 2), RW, "8.2.3.27", All) // functions whose spoofed frames count in SSVPC
)
