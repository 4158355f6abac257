package reg

// Fields, by register. Only those the driver reads or writes.

// Device control and status.
var (
	CTRL_MASTER_DISABLE = Bit(2)  // no more requests of our own on the bus
	CTRL_LRST           = Bit(3)  // link reset, clears itself
	CTRL_RST            = Bit(26) // device reset, clears itself

	STATUS_LAN_ID        = Bits(3, 2)
	STATUS_MASTER_ENABLE = Bit(19) // requests may still be under way

	CTRL_EXT_NS_DIS   = Bit(16) // no "no snoop" on the bus
	CTRL_EXT_RO_DIS   = Bit(17) // no relaxed ordering on the bus
	CTRL_EXT_DRV_LOAD = Bit(28) // tells the firmware that a driver is there

	ESDP_SDP2     = Bit(2)  // on SFP+ boards: a module is in the cage
	ESDP_SDP3     = Bit(3)  // on SFP+ boards: the transmit laser is off
	ESDP_SDP3_DIR = Bit(11) // SDP3 is an output

	GCR_EXT_BUFFERS_CLEAR = Bit(30) // flushes the device's data path
)

// Interrupts. EICR, EICS, EIMS and EIMC have the same bits; the lower 16 are vectors.
var (
	EICR_VECTORS  = Bits(15, 0)
	EICR_LSC      = Bit(20) // the link has come or gone
	EICR_GPI_SDP0 = Bit(24) // input SDP0 has changed
	EICR_GPI_SDP1 = Bit(25)
	EICR_GPI_SDP2 = Bit(26)
	EICR_ECC      = Bit(28) // memory inside the device has lost data
	EICR_OTHER    = Bit(31) // in EIMS: of the causes that are no queue's

	GPIE_SDP0_GPIEN    = Bit(0) // SDP0 may interrupt
	GPIE_SDP1_GPIEN    = Bit(1)
	GPIE_SDP2_GPIEN    = Bit(2)
	GPIE_MULTIPLE_MSIX = Bit(4)
	GPIE_OCD           = Bit(5)  // reading EICR leaves queue causes alone
	GPIE_EIAME         = Bit(30) // EIAM works for MSI-X, too
	GPIE_PBA_SUPPORT   = Bit(31)

	IVAR_RX             = [2]Field{Bits(5, 0), Bits(21, 16)} // of queue 2i and 2i+1
	IVAR_RX_VALID       = [2]Field{Bit(7), Bit(23)}
	IVAR_MISC_OTHER     = Bits(13, 8) // of the causes that are no queue's
	IVAR_MISC_OTHER_VAL = Bit(15)

	EITR_INTERVAL = Bits(11, 3) // least time between two messages, in 2.048 us at 1 and 10 Gb/s
	EITR_CNT_WDIS = Bit(31)     // this store does not change the running counter
)

// The two-wire bus to the module: lines are high unless somebody pulls them low.
var (
	I2CCTL_CLK_IN   = Bit(0)
	I2CCTL_CLK_OUT  = Bit(1)
	I2CCTL_DATA_IN  = Bit(2)
	I2CCTL_DATA_OUT = Bit(3)
)

// EEPROM and semaphores.
var (
	EEC_PRES = Bit(8) // an EEPROM with a valid signature is there
	EEC_ARD  = Bit(9) // auto-read done

	EERD_START = Bit(0)
	EERD_DONE  = Bit(1)
	EERD_ADDR  = Bits(15, 2)
	EERD_DATA  = Bits(31, 16)

	SWSM_SMBI    = Bit(0) // taken by the read that finds it 0
	SWSM_SWESMBI = Bit(1) // software, not firmware, may change SW_FW_SYNC

	FWSM_MODE = Bits(3, 1)

	// SW_FW_SYNC has a bit per resource for software and, 5 higher, one for firmware.
	SW_FW_SYNC_EEPROM  = Bit(0)
	SW_FW_SYNC_PHY0    = Bit(1) // the two-wire bus of port 0
	SW_FW_SYNC_PHY1    = Bit(2)
	SW_FW_SYNC_MAC_CSR = Bit(3)
)

// SW_FW_SYNC_FW is how far the firmware's bit is above the software's.
const SW_FW_SYNC_FW = 5

// Receive.
var (
	FCTRL_SBP = Bit(1)  // store bad packets
	FCTRL_MPE = Bit(8)  // multicast promiscuous
	FCTRL_UPE = Bit(9)  // unicast promiscuous
	FCTRL_BAM = Bit(10) // accept broadcast

	VLNCTRL_VET = Bits(15, 0)
	VLNCTRL_VFE = Bit(30) // VLAN filter

	RXCSUM_IPPCSE = Bit(12)
	RXCSUM_PCSD   = Bit(13) // the hash, not the fragment checksum, in the descriptor

	RFCTL_RSC_DIS = Bit(5) // no receive side coalescing

	MRQC_MRQE     = Bits(3, 0) // multiple queues: 1 = RSS
	MRQC_TCP_IPV4 = Bit(16)
	MRQC_IPV4     = Bit(17)
	MRQC_IPV6     = Bit(20)
	MRQC_TCP_IPV6 = Bit(21)
	MRQC_UDP_IPV4 = Bit(22)
	MRQC_UDP_IPV6 = Bit(23)

	RDRXCTL_CRCSTRIP    = Bit(1)
	RDRXCTL_DMAIDONE    = Bit(3)
	RDRXCTL_RSCFRSTSIZE = Bits(21, 17) // must be 0
	RDRXCTL_RSCACKC     = Bit(25)      // must be 1
	RDRXCTL_FCOE_WRFIX  = Bit(26)      // must be 1
	RXCTRL_RXEN         = Bit(0)
	RXPBSIZE_SIZE       = Bits(19, 10) // KiB
	RSCDBU_RSCACKDIS    = Bit(7)
	SECRXCTRL_RX_DIS    = Bit(1)
	SECRXSTAT_SECRX_RDY = Bit(0)
	DCA_RXCTRL_RESERVED = Bit(12) // reads 1, must be written 0 (4.6.7)
	SRRCTL_BSIZEPACKET  = Bits(4, 0)
	SRRCTL_BSIZEHEADER  = Bits(13, 8)
	SRRCTL_DESCTYPE     = Bits(27, 25) // 1 = advanced, one buffer
	SRRCTL_DROP_EN      = Bit(28)
	RXDCTL_ENABLE       = Bit(25)
	RXDCTL_VME          = Bit(30) // strip VLAN tags
	RSCCTL_RSCEN        = Bit(0)
	RAH_RAH             = Bits(15, 0)
	RAH_AV              = Bit(31)
	FCRTH_RTH           = Bits(18, 5) // 32 bytes
	FCRTH_FCEN          = Bit(31)
	MFLCN_PMCF          = Bit(0) // pass MAC control frames
	MFLCN_DPF           = Bit(1) // discard pause frames
	MFLCN_RPFCE         = Bit(2)
	MFLCN_RFCE          = Bit(3)
	FCCFG_TFCE          = Bits(4, 3)
	QSMR_Q              = [4]Field{Bits(3, 0), Bits(11, 8), Bits(19, 16), Bits(27, 24)}
	RETA_ENTRY          = [4]Field{Bits(3, 0), Bits(11, 8), Bits(19, 16), Bits(27, 24)}
)

// Transmit.
var (
	DMATXCTL_TE         = Bit(0)
	DTXMXSZRQ_MAX_BYTES = Bits(11, 0)
	RTTDCS_ARBDIS       = Bit(6)
	TXPBSIZE_SIZE       = Bits(19, 10) // KiB
	TXPBTHRESH_THRESH   = Bits(9, 0)   // KiB
	TXDCTL_PTHRESH      = Bits(6, 0)
	TXDCTL_HTHRESH      = Bits(14, 8)
	TXDCTL_WTHRESH      = Bits(22, 16)
	TXDCTL_ENABLE       = Bit(25)
	DCA_TXCTRL_DESC_WRO = Bit(11) // relaxed ordering of write-backs
)

// MAC and link.
var (
	HLREG0_TXCRCEN      = Bit(0)
	HLREG0_RXCRCSTRP    = Bit(1)
	HLREG0_JUMBOEN      = Bit(2)
	HLREG0_TXPADEN      = Bit(10)
	HLREG0_LPBK         = Bit(15)
	HLREG0_RXLNGTHERREN = Bit(27) // a wrong length field makes a frame bad

	MAXFRS_MFS = Bits(31, 16) // bytes, with CRC, without VLAN tag

	AUTOC_FLU                 = Bit(0)
	AUTOC_1G_PMA_PMD          = Bit(9) // 0 = SFI
	AUTOC_10G_PMA_PMD         = Bits(8, 7)
	AUTOC_RESTART_AN          = Bit(12)
	AUTOC_LMS                 = Bits(15, 13)
	AUTOC2_10G_PMA_PMD_SERIAL = Bits(17, 16)

	LINKS_LINK_SPEED = Bits(29, 28)
	LINKS_LINK_UP    = Bit(30)
)

// Link mode select, AUTOC_LMS.
const (
	LMS_1G_NO_AN   = 0
	LMS_10G_SERIAL = 3

	PMA_PMD_SERIAL_SFI = 2 // AUTOC2_10G_PMA_PMD_SERIAL
)
