package sim

// Counters that the packet path adds to.
const (
	cCRCERRS = 0x04000
	cRXMPC   = 0x03fa0
	cLXONRX  = 0x041a4
	cLXOFFRX = 0x041a8
	cPRC64   = 0x0405c
	cGPRC    = 0x04074
	cBPRC    = 0x04078
	cMPRC    = 0x0407c
	cGPTC    = 0x04080
	cGORC    = 0x04088
	cGOTC    = 0x04090
	cROC     = 0x040ac
	cRJC     = 0x040b0
	cTOR     = 0x040c0
	cTPR     = 0x040d0
	cTPT     = 0x040d4
	cPTC64   = 0x040d8
	cMPTC    = 0x040f0
	cBPTC    = 0x040f4
	cRLEC    = 0x04040
	cXEC     = 0x04120
	cRXNFGPC = 0x041b0
	cRXNFGBC = 0x041b4
	cRXDGPC  = 0x02f50
	cRXDGBC  = 0x02f54
	cTXDGPC  = 0x087a0
	cTXDGBC  = 0x087a4
)

func cQPRC(i uint32) uint32  { return 0x01030 + 0x40*i }
func cQBRC(i uint32) uint32  { return 0x01034 + 0x40*i }
func cQPRDC(i uint32) uint32 { return 0x01430 + 0x40*i }
func cQPTC(i uint32) uint32  { return 0x06030 + 0x40*i }
func cQBTC(i uint32) uint32  { return 0x08700 + 8*i }

// countRegisters: statistics (8.2.3.23). All are cleared by reading.
func countRegisters() []register {
	rows := []register{
		many("RQSMR", rRQSMR, 4, 32, rw, 0, "8.2.3.23").bits(0x0f0f0f0f),
		many("TQSM", rTQSM, 4, 32, rw, 0, "8.2.3.23").bits(0x0f0f0f0f),
		many("RXMPC", cRXMPC, 4, 8, rc, 0, "8.2.3.23"),
		many("PXONRXCNT", 0x04140, 4, 8, rc, 0, "8.2.3.23"),
		many("PXOFFRXCNT", 0x04160, 4, 8, rc, 0, "8.2.3.23"),
		many("PXON2OFFCNT", 0x03240, 4, 8, rc, 0, "8.2.3.23"),
		many("PXONTXC", 0x03f00, 4, 8, rc, 0, "8.2.3.23"),
		many("PXOFFTXC", 0x03f20, 4, 8, rc, 0, "8.2.3.23"),
		many("QPRC", 0x01030, 0x40, 16, rc, 0, "8.2.3.23"),
		many("QBRC_L", 0x01034, 0x40, 16, rc2, 0, "8.2.3.23"),
		many("QBRC_H", 0x01038, 0x40, 16, rc2, 0, "8.2.3.23"),
		many("QPRDC", 0x01430, 0x40, 16, rc, 0, "8.2.3.23"),
		many("QPTC", 0x06030, 0x40, 16, rc, 0, "8.2.3.23"),
		many("QPTC", 0x08680, 4, 16, rc, 0, "8.2.3.23").alias(),
		many("QBTC_L", 0x08700, 8, 16, rc2, 0, "8.2.3.23"),
		many("QBTC_H", 0x08704, 8, 16, rc2, 0, "8.2.3.23"),
		many("LSECTXCNT", 0x08a3c, 4, 5, rc, 0, ""),
		many("LSECRXCNT", 0x08f40, 4, 17, rc, 0, ""),
	}
	for _, c := range []struct {
		name    string
		off     uint32
		section string
	}{
		{"CRCERRS", cCRCERRS, "8.2.3.23"}, {"ILLERRC", 0x04004, "8.2.3.23"}, {"ERRBC", 0x04008, "8.2.3.23"},
		{"MSPDC", 0x04010, "8.2.3.23"}, {"MLFC", 0x04034, "8.2.3.23"}, {"MRFC", 0x04038, "8.2.3.23"},
		{"RLEC", cRLEC, "8.2.3.23"}, {"LXONTXC", 0x03f60, "8.2.3.23"}, {"LXONRXCNT", cLXONRX, "8.2.3.23"},
		{"LXOFFTXC", 0x03f68, "8.2.3.23"}, {"LXOFFRXCNT", cLXOFFRX, "8.2.3.23"},
		{"PRC64", cPRC64, "8.2.3.23"}, {"PRC127", cPRC64 + 4, "8.2.3.23"}, {"PRC255", cPRC64 + 8, "8.2.3.23"},
		{"PRC511", cPRC64 + 12, "8.2.3.23"}, {"PRC1023", cPRC64 + 16, "8.2.3.23"}, {"PRC1522", cPRC64 + 20, "8.2.3.23"},
		{"GPRC", cGPRC, "8.2.3.23"}, {"BPRC", cBPRC, "8.2.3.23"}, {"MPRC", cMPRC, "8.2.3.23"},
		{"GPTC", cGPTC, "8.2.3.23"}, {"RUC", 0x040a4, "8.2.3.23"}, {"RFC", 0x040a8, "8.2.3.23"},
		{"ROC", cROC, "8.2.3.23"}, {"RJC", cRJC, "8.2.3.23"}, {"MNGPRC", 0x040b4, "8.2.3.23"},
		{"MNGPDC", 0x040b8, "8.2.3.23"}, {"MNGPTC", 0x0cf90, "8.2.3.23"}, {"TPR", cTPR, "8.2.3.23"},
		{"TPT", cTPT, "8.2.3.23"}, {"PTC64", cPTC64, "8.2.3.23"}, {"PTC127", cPTC64 + 4, "8.2.3.23"},
		{"PTC255", cPTC64 + 8, "8.2.3.23"}, {"PTC511", cPTC64 + 12, "8.2.3.23"}, {"PTC1023", cPTC64 + 16, "8.2.3.23"},
		{"PTC1522", cPTC64 + 20, "8.2.3.23"}, {"MPTC", cMPTC, "8.2.3.23"}, {"BPTC", cBPTC, "8.2.3.23"},
		{"XEC", cXEC, "8.2.3.23"}, {"SSVPC", 0x08780, "8.2.3.23"}, {"RXNFGPC", cRXNFGPC, "8.2.3.23"},
		{"RXDGPC", cRXDGPC, "8.2.3.23"}, {"RXDDGPC", 0x02f5c, "8.2.3.23"}, {"RXLPBKGPC", 0x02f68, "8.2.3.23"},
		{"RXDLPBKGPC", 0x02f74, "8.2.3.23"}, {"TXDGPC", cTXDGPC, "8.2.3.23"}, {"FCCRC", 0x05118, "8.2.3.23"},
		{"FCOERPDC", 0x0241c, "8.2.3.23"}, {"FCLAST", 0x02424, "8.2.3.23"}, {"FCOEPRC", 0x02428, "8.2.3.23"},
		{"FCOEDWRC", 0x0242c, "8.2.3.23"}, {"FCOEPTC", 0x08784, "8.2.3.23"}, {"FCOEDWTC", 0x08788, "8.2.3.23"},
	} {
		rows = append(rows, one(c.name, c.off, rc, 0, c.section))
	}
	for _, c := range []struct {
		name    string
		off     uint32
		section string
	}{
		{"GORC", cGORC, "8.2.3.23"}, {"GOTC", cGOTC, "8.2.3.23"}, {"TOR", cTOR, "8.2.3.23"},
		{"RXNFGBC", cRXNFGBC, "8.2.3.23"}, {"RXDGBC", cRXDGBC, "8.2.3.23"}, {"RXDDGBC", 0x02f60, "8.2.3.23"},
		{"RXLPBKGBC", 0x02f6c, "8.2.3.23"}, {"RXDLPBKGBC", 0x02f78, "8.2.3.23"}, {"TXDGBC", cTXDGBC, "8.2.3.23"},
	} {
		rows = append(rows, one(c.name+"L", c.off, rc2, 0, c.section), one(c.name+"H", c.off+4, rc2, 0, c.section))
	}
	return rows
}
