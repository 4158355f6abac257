package sim

const (
	rRQSMR = 0x02300
	rTQSM  = 0x08600
)

// Counters that the packet path adds to.
const (
	cCRCERRS   = 0x04000
	cILLERRC   = 0x04004
	cERRBC     = 0x04008
	cRLEC      = 0x04040
	cRXMPC     = 0x03fa0
	cLXONRX    = 0x041a4
	cLXOFFRX   = 0x041a8
	cPRC64     = 0x0405c
	cGPRC      = 0x04074
	cBPRC      = 0x04078
	cMPRC      = 0x0407c
	cGPTC      = 0x04080
	cGORC      = 0x04088
	cGOTC      = 0x04090
	cRUC       = 0x040a4
	cRFC       = 0x040a8
	cROC       = 0x040ac
	cRJC       = 0x040b0
	cTOR       = 0x040c0
	cTPR       = 0x040d0
	cXEC       = 0x04120
	cTPT       = 0x040d4
	cPTC64     = 0x040d8
	cMPTC      = 0x040f0
	cBPTC      = 0x040f4
	cRXNFGPC   = 0x041b0
	cRXNFGBC   = 0x041b4
	cRXDGPC    = 0x02f50
	cRXDGBC    = 0x02f54
	cTXDGPC    = 0x087a0
	cTXDGBC    = 0x087a4
	cSSVPC     = 0x08780
	cRXLPBKGPC = 0x02f68
	cRXLPBKGBC = 0x02f6c
)

// Counters of the statistics sets 0-15, which RQSMR and TQSM assign to queues.
func cQPRC(i uint32) uint32  { return 0x01030 + qStride*i }
func cQBRC(i uint32) uint32  { return 0x01034 + qStride*i }
func cQPRDC(i uint32) uint32 { return 0x01430 + qStride*i }
func cQPTC(i uint32) uint32  { return 0x06030 + qStride*i }
func cQBTC(i uint32) uint32  { return 0x08700 + 8*i }

// countRegisters: statistics (8.2.3.23). All are cleared by reading.
func countRegisters() []register {
	const section = "8.2.3.23"
	rows := []register{
		many("RQSMR", rRQSMR, 4, 32, rw, 0, section).bits(0x0f0f0f0f),
		many("TQSM", rTQSM, 4, 32, rw, 0, section).bits(0x0f0f0f0f),
		many("RXMPC", cRXMPC, 4, 8, rc, 0, section),
		many("PXONRXCNT", 0x04140, 4, 8, rc, 0, section),
		many("PXOFFRXCNT", 0x04160, 4, 8, rc, 0, section),
		many("PXON2OFFCNT", 0x03240, 4, 8, rc, 0, section),
		many("PXONTXC", 0x03f00, 4, 8, rc, 0, section),
		many("PXOFFTXC", 0x03f20, 4, 8, rc, 0, section),
		many("QPRC", cQPRC(0), qStride, 16, rc, 0, section),
		many("QBRC_L", cQBRC(0), qStride, 16, rcLow, 0, section),
		many("QBRC_H", cQBRC(0)+4, qStride, 16, rcHigh, 0, section),
		many("QPRDC", cQPRDC(0), qStride, 16, rc, 0, section),
		many("QPTC", cQPTC(0), qStride, 16, rc, 0, section).alias(0x08680, 4, 16),
		many("QBTC_L", cQBTC(0), 8, 16, rcLow, 0, section),
		many("QBTC_H", cQBTC(0)+4, 8, 16, rcHigh, 0, section),
		many("LSECTXCNT", 0x08a3c, 4, 5, rc, 0, ""),
		many("LSECRXCNT", 0x08f40, 4, 17, rc, 0, ""),
	}
	for _, c := range []struct {
		name string
		off  uint32
	}{
		{"CRCERRS", cCRCERRS}, {"ILLERRC", cILLERRC}, {"ERRBC", cERRBC},
		{"MSPDC", 0x04010}, {"MLFC", 0x04034}, {"MRFC", 0x04038},
		{"RLEC", cRLEC}, {"LXONTXC", 0x03f60}, {"LXONRXCNT", cLXONRX},
		{"LXOFFTXC", 0x03f68}, {"LXOFFRXCNT", cLXOFFRX},
		{"PRC64", cPRC64}, {"PRC127", cPRC64 + 4}, {"PRC255", cPRC64 + 8},
		{"PRC511", cPRC64 + 12}, {"PRC1023", cPRC64 + 16}, {"PRC1522", cPRC64 + 20},
		{"GPRC", cGPRC}, {"BPRC", cBPRC}, {"MPRC", cMPRC},
		{"GPTC", cGPTC}, {"RUC", cRUC}, {"RFC", cRFC},
		{"ROC", cROC}, {"RJC", cRJC}, {"MNGPRC", 0x040b4},
		{"MNGPDC", 0x040b8}, {"MNGPTC", 0x0cf90}, {"TPR", cTPR},
		{"TPT", cTPT}, {"PTC64", cPTC64}, {"PTC127", cPTC64 + 4},
		{"PTC255", cPTC64 + 8}, {"PTC511", cPTC64 + 12}, {"PTC1023", cPTC64 + 16},
		{"PTC1522", cPTC64 + 20}, {"MPTC", cMPTC}, {"BPTC", cBPTC},
		{"XEC", 0x04120}, {"SSVPC", cSSVPC}, {"RXNFGPC", cRXNFGPC},
		{"RXDGPC", cRXDGPC}, {"RXDDGPC", 0x02f5c}, {"RXLPBKGPC", cRXLPBKGPC},
		{"RXDLPBKGPC", 0x02f74}, {"TXDGPC", cTXDGPC}, {"FCCRC", 0x05118},
		{"FCOERPDC", 0x0241c}, {"FCLAST", 0x02424}, {"FCOEPRC", 0x02428},
		{"FCOEDWRC", 0x0242c}, {"FCOEPTC", 0x08784}, {"FCOEDWTC", 0x08788},
	} {
		rows = append(rows, one(c.name, c.off, rc, 0, section))
	}
	for _, c := range []struct {
		name string
		off  uint32
	}{
		{"GORC", cGORC}, {"GOTC", cGOTC}, {"TOR", cTOR},
		{"RXNFGBC", cRXNFGBC}, {"RXDGBC", cRXDGBC}, {"RXDDGBC", 0x02f60},
		{"RXLPBKGBC", cRXLPBKGBC}, {"RXDLPBKGBC", 0x02f78}, {"TXDGBC", cTXDGBC},
	} {
		rows = append(rows, one(c.name+"L", c.off, rcLow, 0, section), one(c.name+"H", c.off+4, rcHigh, 0, section))
	}
	return rows
}
