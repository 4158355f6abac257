package sim

const (
	rDMATXCTL  = 0x04a80
	rDTXTCPL   = 0x04a88
	rDTXTCPH   = 0x04a8c
	rSECTXCTRL = 0x08800
	rRTTDQSEL  = 0x04904
	rRTTBCNRM  = 0x04980
)

// transmitRegisters: transmit DMA (8.2.3.9) and its scheduling (8.2.3.10).
func transmitRegisters() []register {
	queue := func(name string, r uint32, a access, section string) register {
		return many(name, txReg(0, r), qStride, queues, a, 0, section)
	}
	return []register{
		one("DMATXCTL", rDMATXCTL, sc, 0x81000000, "8.2.3.9").onWrite((*NIC).writeDMATXCTL),
		one("DTXMXSZRQ", 0x08100, rw, 0x10, "8.2.3.9"),
		one("DTXTCPFLGL", rDTXTCPL, rw, 0x0ff60ff6, "8.2.3.9"), // values of the chip by FreeBSD review D44258
		one("DTXTCPFLGH", rDTXTCPH, rw, 0x00000f7f, "8.2.3.9"),
		queue("TDBAL", qBAL, rw, "8.2.3.9").bits(0xffffff80),
		queue("TDBAH", qBAH, rw, "8.2.3.9"),
		queue("TDLEN", qLEN, rw, "8.2.3.9").bits(0x000fff80),
		queue("DCA_TXCTRL", qDCA, rw, "8.2.3.11"),
		queue("TDH", qHEAD, sc, "8.2.3.9").onRead((*NIC).readTDH).onWrite((*NIC).writeTDH),
		queue("TDT", qTAIL, sc, "8.2.3.9").onRead((*NIC).readTDT).onWrite((*NIC).writeTDT),
		queue("TXDCTL", qDCTL, sc, "8.2.3.9").onWrite((*NIC).writeTXDCTL),
		queue("TDWBAL", qWBAL, rw, "8.2.3.9"),
		queue("TDWBAH", qWBAH, rw, "8.2.3.9"),
		many("TXPBSIZE", 0x0cc00, 4, 8, rw, 0xa0<<10, "8.2.3.9").bits(0x000ffc00),
		many("TXPBTHRESH", 0x04950, 4, 8, rw, 0x96, "8.2.3.9"),
		one("MTQC", rMTQC, rw, 0, "8.2.3.9"),
		one("MNGTXMAP", 0x0cd10, rw, 0, "8.2.3.10"),
		one("TIPG", 0x0cb00, rw, 0, "8.2.3.9"),
		one("SECTXCTRL", rSECTXCTRL, rw, 1, "8.2.3.13"),
		one("SECTXSTAT", 0x08804, ro, 0, "8.2.3.13").onRead((*NIC).readSECTXSTAT),
		one("SECTXBUFFAF", 0x08808, rw, 0, ""),
		one("SECTXMINIFG", 0x08810, rw, 0x1001, ""),

		one("RTTDCS", 0x04900, rw, 0, "8.2.3.10"),
		one("RTTPCS", 0x0cd00, rw, 0, "8.2.3.10"),
		one("RTTUP2TC", 0x0c800, rw, 0, "8.2.3.10"),
		many("RTTDT2C", 0x04910, 4, 8, rw, 0, "8.2.3.10"),
		many("RTTDT2S", 0x04930, 4, 8, ro, 0, "8.2.3.10"),
		many("RTTPT2C", 0x0cd20, 4, 8, rw, 0, "8.2.3.10"),
		many("RTTPT2S", 0x0cd40, 4, 8, ro, 0, "8.2.3.10"),
		one("RTTDQSEL", rRTTDQSEL, rw, 0, "8.2.3.10").bits(queues - 1),
		one("RTTDT1C", 0x04908, rw, 0, "8.2.3.10"),
		one("RTTDT1S", 0x0490c, ro, 0, "8.2.3.10"),
		one("RTTBCNRM", rRTTBCNRM, sc, 0, "8.2.3.10").onWrite((*NIC).writeRTTBCNRM),
		one("RTTBCNRC", 0x04984, sc, 0, "8.2.3.10").onRead((*NIC).readRTTBCNRC).onWrite((*NIC).writeRTTBCNRC),
		one("RTTBCNRS", 0x04988, ro, 0, "8.2.3.10"),
		one("RTTBCNRD", 0x0498c, rw, 0, "8.2.3.10"),
	}
}

const (
	rHLREG0 = 0x04240
	rMSCA   = 0x0425c
	rMSRWD  = 0x04260
	rMAXFRS = 0x04268
	rMFLCN  = 0x04294
	rAUTOC  = 0x042a0
	rAUTOC2 = 0x042a8
)

// macRegisters: the MAC and the link (8.2.3.22).
func macRegisters(kind *variant) []register {
	return []register{
		one("PCS1GCFIG", 0x04200, rw, 0, "8.2.3.22"),
		one("PCS1GLCTL", 0x04208, rw, 0x00000010, "8.2.3.22"),
		one("PCS1GLSTA", 0x0420c, ro, 0, "8.2.3.22").onRead((*NIC).readPCS1GLSTA),
		one("PCS1GANA", 0x04218, rw, 0xa0, "8.2.3.22"),
		one("PCS1GANLP", 0x0421c, ro, 0, "8.2.3.22").onRead((*NIC).readPCS1GANLP),
		one("PCS1GANNP", 0x04220, rw, 0, "8.2.3.22"),
		one("PCS1GANLPNP", 0x04224, ro, 0, "8.2.3.22"),
		// TXCRCEN, RXCRCSTRP, TXPADEN and RXLNGTHERREN are on after reset.
		one("HLREG0", rHLREG0, rw, 0x08012c0b, "8.2.3.22"),
		one("HLREG1", 0x04244, ro, 0, "8.2.3.22"),
		one("PAP", 0x04248, rw, 0xffff, "8.2.3.22"),
		one("MSCA", rMSCA, sc, 0, "8.2.3.22").onWrite((*NIC).writeMSCA),
		one("MSRWD", rMSRWD, rw, 0, "8.2.3.22"),
		one("MAXFRS", rMAXFRS, rw, 1518<<16, "8.2.3.22").bits(0xffff0000),
		one("PCSS1", 0x04288, ro, 0, "8.2.3.22"),
		one("PCSS2", 0x0428c, ro, 0, "8.2.3.22"),
		one("XPCSS", 0x04290, ro, 0, "8.2.3.22"),
		one("MFLCN", rMFLCN, rw, 0, "8.2.3.22"),
		one("SERDESC", 0x04298, rw, 0, "8.2.3.22").kept(),
		one("MACS", 0x0429c, rw, 0, "8.2.3.22").kept(),
		one("AUTOC", rAUTOC, sc, kind.resetAUTOC(), "8.2.3.22").onWrite((*NIC).writeAUTOC).kept(),
		one("LINKS", 0x042a4, ro, 0, "8.2.3.22").onRead((*NIC).readLINKS),
		one("LINKS2", 0x04324, ro, 0, "8.2.3.22"),
		one("AUTOC2", rAUTOC2, sc, autoc2Reset, "8.2.3.22").onWrite((*NIC).writeAUTOC2).kept(),
		one("ANLP1", 0x042b0, ro, 0, "8.2.3.22").onRead((*NIC).readANLP1),
		one("ANLP2", 0x042b4, ro, 0, "8.2.3.22"),
		one("MMNGC", 0x042d0, ro, 0, "8.2.3.22"),
		one("ANLPNP1", 0x042d4, ro, 0, "8.2.3.22"),
		one("ANLPNP2", 0x042d8, ro, 0, "8.2.3.22"),
		one("KRPCSFC", 0x042e0, rw, 0, "8.2.3.22"),
		one("KRPCSS", 0x042e4, ro, 0, "8.2.3.22"),
		one("FECS1", 0x042e8, rc, 0, "8.2.3.22"),
		one("FECS2", 0x042ec, rc, 0, "8.2.3.22"),
		one("MACC", 0x04330, rw, 0, "8.2.3.22"),
		one("ATLASCTL", 0x04800, rw, 0, "8.2.3.22").kept(),
		one("PHYADR", 0x11040, rw, 0, "8.2.3.22"),
	}
}

const (
	rTSYNCRXCTL = 0x05188
	rRXSTMPL    = 0x051e8
	rRXSTMPH    = 0x051a4
	rRXSATRL    = 0x051a0
	rRXSATRH    = 0x051a8
	rRXMTRL     = 0x05120
	rTSYNCTXCTL = 0x08c00
	rTXSTMPL    = 0x08c04
	rTXSTMPH    = 0x08c08
	rSYSTIML    = 0x08c0c
	rTIMINCA    = 0x08c14
)

// otherRegisters: time stamps (8.2.3.26), and units of which the model has the registers
// only: wake-up (8.2.3.24), management filters (8.2.3.25), FCoE.
func otherRegisters() []register {
	return []register{
		one("WUC", 0x05800, rw, 0, "8.2.3.24"),
		one("WUFC", 0x05808, rw, 0, "8.2.3.24"),
		one("WUS", 0x05810, w1c, 0, "8.2.3.24"),
		one("IPAV", 0x05838, rw, 0, "8.2.3.24"),
		many("IP4AT", 0x05840, 8, 4, rw, 0, "8.2.3.24"),
		many("IP6AT", 0x05880, 4, 4, rw, 0, "8.2.3.24"),
		one("WUPL", 0x05900, ro, 0, "8.2.3.24"),
		one("MANC", 0x05820, rw, 0, ""),
		one("MFVAL", 0x05824, rw, 0, ""),
		one("MANC2H", 0x05860, rw, 0, ""),
		one("TSYNCRXCTL", rTSYNCRXCTL, rw, 0, "8.2.3.26").bits(^uint32(tsyncValid)),
		one("RXSTMPL", rRXSTMPL, ro, 0, "8.2.3.26"),
		one("RXSTMPH", rRXSTMPH, sc, 0, "8.2.3.26").onRead((*NIC).readRXSTMPH).onWrite((*NIC).ignore),
		one("RXSATRL", rRXSATRL, ro, 0, "8.2.3.26"),
		one("RXSATRH", rRXSATRH, ro, 0, "8.2.3.26"),
		// The port is 0x319, not 319 (libmoon, ixgbe.lua).
		one("RXMTRL", rRXMTRL, rw, 0x319<<16, "8.2.3.26"),
		one("TSYNCTXCTL", rTSYNCTXCTL, rw, 0, "8.2.3.26").bits(^uint32(tsyncValid)),
		one("TXSTMPL", rTXSTMPL, ro, 0, "8.2.3.26"),
		one("TXSTMPH", rTXSTMPH, sc, 0, "8.2.3.26").onRead((*NIC).readTXSTMPH).onWrite((*NIC).ignore),
		one("SYSTIML", rSYSTIML, sc, 0, "8.2.3.26").onRead((*NIC).readSYSTIML).onWrite((*NIC).writeSYSTIML),
		one("SYSTIMH", rSYSTIML+4, sc, 0, "8.2.3.26").onRead((*NIC).readSYSTIMH).onWrite((*NIC).writeSYSTIMH),
		one("TIMINCA", rTIMINCA, sc, 0, "8.2.3.26").onWrite((*NIC).writeTIMINCA),
		one("TIMADJL", 0x08c18, rw, 0, "8.2.3.26"),
		one("TIMADJH", 0x08c1c, rw, 0, "8.2.3.26"),
		one("TSAUXC", 0x08c20, rw, 0, "8.2.3.26"),
		one("FCRXCTRL", 0x05100, rw, 0, ""),
		one("FCFLT", 0x05108, rw, 0, ""),
		one("FCFLTRW", 0x05110, rw, 0, ""),
		one("FCPARAM", 0x051d8, rw, 0, ""),
		one("REOFF", 0x05158, rw, 0, ""),
		one("RSOFF", 0x051f8, rw, 0, ""),
		one("TEOFF", 0x04a94, rw, 0, ""),
		one("TSOFF", 0x04a98, rw, 0, ""),
		one("FCPTRL", 0x02410, rw, 0, ""),
		one("FCPTRH", 0x02414, rw, 0, ""),
		one("FCBUFF", 0x02418, rw, 0, ""),
		one("FCDMARW", 0x02420, rw, 0, ""),
		one("FCRECTL", 0x0ed00, rw, 0, ""),
		many("FCRETA", 0x0ed10, 4, 8, rw, 0, ""),
	}
}
