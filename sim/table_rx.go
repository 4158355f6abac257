package sim

// Offsets of a queue's registers from its block. Blocks have 0x40 bytes: receive
// queues 0-63 at 0x1000, 64-127 at 0xD000; transmit queues at 0x6000.
const (
	rxBlock   = 0x1000
	rxBlock64 = 0xd000
	txBlock   = 0x6000
	qStride   = 0x40

	qBAL  = 0x00
	qBAH  = 0x04
	qLEN  = 0x08
	qDCA  = 0x0c
	qHEAD = 0x10
	qSRR  = 0x14
	qTAIL = 0x18
	qDCTL = 0x28
	qRSC  = 0x2c
	qWBAL = 0x38
	qWBAH = 0x3c
)

func rxReg(q int, r uint32) uint32 {
	if q < 64 {
		return rxBlock + uint32(q)*qStride + r
	}
	return rxBlock64 + uint32(q-64)*qStride + r
}

func txReg(q int, r uint32) uint32 { return txBlock + uint32(q)*qStride + r }

// perRxQueue is a register that each receive queue has.
func perRxQueue(name string, r uint32, a access, reset uint32, section string) register {
	return many(name, rxReg(0, r), qStride, 64, a, reset, section).and(rxReg(64, r), qStride, 64)
}

const (
	rRDRXCTL   = 0x02f00
	rRXCTRL    = 0x03000
	rRXPBSIZE  = 0x03c00
	rDROPEN    = 0x03d04
	rSECRXCTRL = 0x08d00
)

// receiveRegisters: receive DMA (8.2.3.8) and header split (8.2.3.7.4).
func receiveRegisters(kind *variant) []register {
	return []register{
		one("RDRXCTL", rRDRXCTL, sc, 0x00100008, "8.2.3.8").onRead((*NIC).readRDRXCTL),
		one("RXCTRL", rRXCTRL, rw, 0, "8.2.3.8"),
		many("RXPBSIZE", rRXPBSIZE, 4, 8, rw, uint32(kind.rxBuffer())<<10, "8.2.3.8").bits(0x000ffc00),
		one("PFQDE", 0x02f04, sc, 0, "8.2.3.8").onWrite((*NIC).writePFQDE),
		one("RSCDBU", 0x03028, rw, 0, "8.2.3.8"),
		one("DROPEN", rDROPEN, rw, 0, "8.2.3.8"),
		many("RDDCC", 0x02f20, 4, 1, ro, 0, "8.2.3.8"),
		one("SECRXCTRL", rSECRXCTRL, rw, 1, "8.2.3.13"),
		one("SECRXSTAT", 0x08d04, ro, 0, "8.2.3.13").onRead((*NIC).readSECRXSTAT),
		one("RXDSTATCTRL", 0x02f40, rw, 0, "8.2.3.23"),
		one("RTRPCS", 0x02430, rw, 0, "8.2.3.10"),
		one("RTRUP2TC", 0x03020, rw, 0, "8.2.3.10"),
		many("RTRPT4C", 0x02140, 4, 8, rw, 0, "8.2.3.10"),
		many("RTRPT4S", 0x02160, 4, 8, ro, 0, "8.2.3.10"),
		many("FCTTV", 0x03200, 4, 4, rw, 0, "8.2.3.3"),
		many("FCRTL", 0x03220, 4, 8, rw, 0, "8.2.3.3"),
		many("FCRTH", 0x03260, 4, 8, rw, 0, "8.2.3.3"),
		one("FCRTV", 0x032a0, rw, 0, "8.2.3.3"),
		one("FCCFG", 0x03d00, rw, 0, "8.2.3.3"),
		one("PFCTOP", 0x03008, rw, 0x8808, "8.2.3.3"),
		one("TFCS", 0x0ce00, ro, 0, "8.2.3.3"),

		perRxQueue("RDBAL", qBAL, rw, 0, "8.2.3.8").bits(0xffffff80),
		perRxQueue("RDBAH", qBAH, rw, 0, "8.2.3.8"),
		perRxQueue("RDLEN", qLEN, rw, 0, "8.2.3.8").bits(0x000fff80),
		perRxQueue("RDH", qHEAD, sc, 0, "8.2.3.8").onRead((*NIC).readRDH).onWrite((*NIC).writeRDH),
		perRxQueue("RDT", qTAIL, sc, 0, "8.2.3.8").onRead((*NIC).readRDT).onWrite((*NIC).writeRDT),
		perRxQueue("RXDCTL", qDCTL, sc, 0, "8.2.3.8").onWrite((*NIC).writeRXDCTL),
		perRxQueue("RSCCTL", qRSC, rw, 0, "8.2.3.8"),
		// Those of queues 0-15 answer at a second address.
		perRxQueue("SRRCTL", qSRR, rw, 0x402, "8.2.3.8").alias(0x02100, 4, 16),
		perRxQueue("DCA_RXCTRL", qDCA, rw, 0, "8.2.3.11").alias(0x02200, 4, 16),
	}
}

const (
	rRXCSUM   = 0x05000
	rEXVET    = 0x05078
	rFCTRL    = 0x05080
	rVLNCTRL  = 0x05088
	rMCSTCTRL = 0x05090
	rETQF     = 0x05128
	rETQS     = 0x0ec00
	rMTA      = 0x05200
	rVFTA     = 0x0a000
	rRAL      = 0x0a200
	rMRQC     = 0x0ec80
	rRSSRK    = 0x0eb80
	rRETA     = 0x0eb00
	rERETA    = 0x0ee80
	rFDIRCTRL = 0x0ee00
	rFDIRCMD  = 0x0ee2c
	rPSRTYPE  = 0x0ea00
	rSAQF     = 0x0e000
	rDAQF     = 0x0e200
	rSDPQF    = 0x0e400
	rFTQF     = 0x0e600
	rL34TIMIR = 0x0e800
	rSYNQF    = 0x0ec30

	rFDIRSIPv6 = 0x0ee0c
	rFDIRIPSA  = 0x0ee18
	rFDIRIPDA  = 0x0ee1c
	rFDIRPORT  = 0x0ee20
	rFDIRVLAN  = 0x0ee24
	rFDIRHASH  = 0x0ee28
	rFDIRDIP4M = 0x0ee3c
	rFDIRSIP4M = 0x0ee40
	rFDIRTCPM  = 0x0ee44
	rFDIRUDPM  = 0x0ee48
	rFDIRHKEY  = 0x0ee68
	rFDIRSKEY  = 0x0ee6c
	rFDIRM     = 0x0ee70
	rFDIRIP6M  = 0x0ee74
	rFDIRSCTPM = 0x0ee78
	cFDIRMATCH = 0x0ee58
	cFDIRMISS  = 0x0ee5c
	rPFVTCTL   = 0x051b0
)

// filterRegisters: filters and queue selection (8.2.3.7).
func filterRegisters(kind *variant) []register {
	rows := []register{
		one("RXCSUM", rRXCSUM, rw, 0, "8.2.3.7"),
		one("RFCTL", 0x05008, rw, 0, "8.2.3.7"),
		one("EXVET", rEXVET, rw, 0x81000000, "8.2.3.7"),
		one("FCTRL", rFCTRL, rw, 0, "8.2.3.7"),
		one("VLNCTRL", rVLNCTRL, rw, 0x8100, "8.2.3.7"),
		one("MCSTCTRL", rMCSTCTRL, rw, 0, "8.2.3.7"),
		many("ETQF", rETQF, 4, 8, rw, 0, "8.2.3.7"),
		many("ETQS", rETQS, 4, 8, rw, 0, "8.2.3.7"),
		many("MTA", rMTA, 4, 128, rw, 0, "8.2.3.7"),
		many("VFTA", rVFTA, 4, 128, rw, 0, "8.2.3.7"),

		// The first 16 address registers also answer where the 82598 has them.
		many("RAL", rRAL, 8, 128, rw, 0, "8.2.3.7").alias(0x05400, 8, 16),
		many("RAH", rRAL+4, 8, 128, rw, 0, "8.2.3.7").alias(0x05404, 8, 16).bits(0x8000ffff),
		many("MPSAR", rMPSAR, 4, 256, rw, 0, "8.2.3.7"),
		many("PSRTYPE", rPSRTYPE, 4, 64, rw, 0, "8.2.3.7").alias(0x05480, 4, 16),

		one("MRQC", rMRQC, rw, 0, "8.2.3.7").alias(0x05818, 4, 1),
		one("RQTC", 0x0ec70, rw, 0x77777777, "8.2.3.7"),
		many("RSSRK", rRSSRK, 4, 10, rw, 0, "8.2.3.7").alias(0x05c80, 4, 10),
		many("RETA", rRETA, 4, 32, rw, 0, "8.2.3.7").alias(0x05c00, 4, 32).bits(0x01010101 * kind.rssQueue()),

		many("SAQF", rSAQF, 4, 128, rw, 0, "8.2.3.7"),
		many("DAQF", rDAQF, 4, 128, rw, 0, "8.2.3.7"),
		many("SDPQF", rSDPQF, 4, 128, rw, 0, "8.2.3.7"),
		many("FTQF", rFTQF, 4, 128, rw, 0, "8.2.3.7"),
		one("SYNQF", rSYNQF, rw, 0, "8.2.3.7"),
		many("L34TIMIR", rL34TIMIR, 4, 128, rw, 0, "8.2.3.5"),
		one("LLITHRESH", 0x0ec90, rw, 0, "8.2.3.5"),
		one("IMIRVP", 0x0ec60, rw, 0, "8.2.3.5"),

		// Flow Director.
		one("FDIRCTRL", rFDIRCTRL, sc, 0, "8.2.3.21").onWrite((*NIC).writeFDIRCTRL),
		many("FDIRSIPv6", rFDIRSIPv6, 4, 3, rw, 0, "8.2.3.21"),
		one("FDIRIPSA", rFDIRIPSA, rw, 0, "8.2.3.21"),
		one("FDIRIPDA", rFDIRIPDA, rw, 0, "8.2.3.21"),
		one("FDIRPORT", rFDIRPORT, rw, 0, "8.2.3.21"),
		one("FDIRVLAN", rFDIRVLAN, rw, 0, "8.2.3.21"),
		one("FDIRHASH", rFDIRHASH, rw, 0, "8.2.3.21"),
		one("FDIRCMD", rFDIRCMD, sc, 0, "8.2.3.21").onWrite((*NIC).writeFDIRCMD),
		one("FDIRFREE", 0x0ee38, ro, 0, "8.2.3.21").onRead((*NIC).readFDIRFREE),
		one("FDIRDIP4M", rFDIRDIP4M, rw, 0, "8.2.3.21"),
		one("FDIRSIP4M", rFDIRSIP4M, rw, 0, "8.2.3.21"),
		one("FDIRTCPM", rFDIRTCPM, rw, 0, "8.2.3.21"),
		one("FDIRUDPM", rFDIRUDPM, rw, 0, "8.2.3.21"),
		one("FDIRLEN", 0x0ee4c, ro, 0, "8.2.3.21").onRead((*NIC).readFDIRLEN),
		one("FDIRUSTAT", 0x0ee50, ro, 0, "8.2.3.21").onRead((*NIC).readFDIRUSTAT),
		one("FDIRFSTAT", 0x0ee54, ro, 0, "8.2.3.21").onRead((*NIC).readFDIRFSTAT),
		one("FDIRMATCH", cFDIRMATCH, rc, 0, "8.2.3.21"),
		one("FDIRMISS", cFDIRMISS, rc, 0, "8.2.3.21"),
		one("FDIRHKEY", rFDIRHKEY, rw, 0, "8.2.3.21"),
		one("FDIRSKEY", rFDIRSKEY, rw, 0, "8.2.3.21"),
		one("FDIRM", rFDIRM, rw, 0, "8.2.3.21"),
		one("FDIRIP6M", rFDIRIP6M, rw, 0, "8.2.3.21"),
		one("FDIRSCTPM", rFDIRSCTPM, rw, 0, "8.2.3.21"),
	}
	if more := kind.rssEntries() - 128; more > 0 {
		rows = append(rows, many("ERETA", rERETA, 4, more/4, rw, 0, "").bits(0x01010101*kind.rssQueue()))
	}
	return rows
}
