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
		many("RQSMR", rRQSMR, 4, 32, rw, 0, "8.2.3.23.71").bits(0x0f0f0f0f),
		many("TQSM", rTQSM, 4, 32, rw, 0, "8.2.3.23.73").bits(0x0f0f0f0f),
		many("RXMPC", cRXMPC, 4, 8, rc, 0, "8.2.3.23.4"),
		many("PXONRXCNT", 0x04140, 4, 8, rc, 0, "8.2.3.23.20"),
		many("PXOFFRXCNT", 0x04160, 4, 8, rc, 0, "8.2.3.23.22"),
		many("PXON2OFFCNT", 0x03240, 4, 8, rc, 0, "8.2.3.23.23"),
		many("PXONTXC", 0x03f00, 4, 8, rc, 0, "8.2.3.23.19"),
		many("PXOFFTXC", 0x03f20, 4, 8, rc, 0, "8.2.3.23.21"),
		many("QPRC", 0x01030, 0x40, 16, rc, 0, "8.2.3.23.72"),
		many("QBRC_L", 0x01034, 0x40, 16, rc2, 0, "8.2.3.23.76"),
		many("QBRC_H", 0x01038, 0x40, 16, rc2, 0, "8.2.3.23.77"),
		many("QPRDC", 0x01430, 0x40, 16, rc, 0, "8.2.3.23.75"),
		many("QPTC", 0x06030, 0x40, 16, rc, 0, "8.2.3.23.74"),
		many("QPTC", 0x08680, 4, 16, rc, 0, "8.2.3.23.74").alias(),
		many("QBTC_L", 0x08700, 8, 16, rc2, 0, "8.2.3.23.78"),
		many("QBTC_H", 0x08704, 8, 16, rc2, 0, "8.2.3.23.79"),
		many("LSECTXCNT", 0x08a3c, 4, 5, rc, 0, "8.2.3.13"),
		many("LSECRXCNT", 0x08f40, 4, 17, rc, 0, "8.2.3.13"),
	}
	for _, c := range []struct {
		name    string
		off     uint32
		section string
	}{
		{"CRCERRS", cCRCERRS, "8.2.3.23.1"}, {"ILLERRC", 0x04004, "8.2.3.23.2"}, {"ERRBC", 0x04008, "8.2.3.23.3"},
		{"MSPDC", 0x04010, "8.2.3.23"}, {"MLFC", 0x04034, "8.2.3.23.5"}, {"MRFC", 0x04038, "8.2.3.23.6"},
		{"RLEC", cRLEC, "8.2.3.23.7"}, {"LXONTXC", 0x03f60, "8.2.3.23.15"}, {"LXONRXCNT", cLXONRX, "8.2.3.23.16"},
		{"LXOFFTXC", 0x03f68, "8.2.3.23.17"}, {"LXOFFRXCNT", cLXOFFRX, "8.2.3.23.18"},
		{"PRC64", cPRC64, "8.2.3.23.24"}, {"PRC127", cPRC64 + 4, "8.2.3.23.25"}, {"PRC255", cPRC64 + 8, "8.2.3.23.26"},
		{"PRC511", cPRC64 + 12, "8.2.3.23.27"}, {"PRC1023", cPRC64 + 16, "8.2.3.23.28"}, {"PRC1522", cPRC64 + 20, "8.2.3.23.29"},
		{"GPRC", cGPRC, "8.2.3.23.32"}, {"BPRC", cBPRC, "8.2.3.23.30"}, {"MPRC", cMPRC, "8.2.3.23.31"},
		{"GPTC", cGPTC, "8.2.3.23.46"}, {"RUC", 0x040a4, "8.2.3.23.48"}, {"RFC", 0x040a8, "8.2.3.23.49"},
		{"ROC", cROC, "8.2.3.23.50"}, {"RJC", cRJC, "8.2.3.23.51"}, {"MNGPRC", 0x040b4, "8.2.3.23.52"},
		{"MNGPDC", 0x040b8, "8.2.3.23.53"}, {"MNGPTC", 0x0cf90, "8.2.3.23"}, {"TPR", cTPR, "8.2.3.23.55"},
		{"TPT", cTPT, "8.2.3.23.56"}, {"PTC64", cPTC64, "8.2.3.23.57"}, {"PTC127", cPTC64 + 4, "8.2.3.23.58"},
		{"PTC255", cPTC64 + 8, "8.2.3.23.59"}, {"PTC511", cPTC64 + 12, "8.2.3.23.60"}, {"PTC1023", cPTC64 + 16, "8.2.3.23.61"},
		{"PTC1522", cPTC64 + 20, "8.2.3.23.62"}, {"MPTC", cMPTC, "8.2.3.23.63"}, {"BPTC", cBPTC, "8.2.3.23.64"},
		{"XEC", cXEC, "8.2.3.23.70"}, {"SSVPC", 0x08780, "8.2.3.23"}, {"RXNFGPC", cRXNFGPC, "8.2.3.23.33"},
		{"RXDGPC", cRXDGPC, "8.2.3.23.36"}, {"RXDDGPC", 0x02f5c, "8.2.3.23.38"}, {"RXLPBKGPC", 0x02f68, "8.2.3.23.40"},
		{"RXDLPBKGPC", 0x02f74, "8.2.3.23.42"}, {"TXDGPC", cTXDGPC, "8.2.3.23.44"}, {"FCCRC", 0x05118, "8.2.3.23.80"},
		{"FCOERPDC", 0x0241c, "8.2.3.23.81"}, {"FCLAST", 0x02424, "8.2.3.23.82"}, {"FCOEPRC", 0x02428, "8.2.3.23.83"},
		{"FCOEDWRC", 0x0242c, "8.2.3.23.84"}, {"FCOEPTC", 0x08784, "8.2.3.23.85"}, {"FCOEDWTC", 0x08788, "8.2.3.23.86"},
	} {
		rows = append(rows, one(c.name, c.off, rc, 0, c.section))
	}
	for _, c := range []struct {
		name    string
		off     uint32
		section string
	}{
		{"GORC", cGORC, "8.2.3.23.34"}, {"GOTC", cGOTC, "8.2.3.23.47"}, {"TOR", cTOR, "8.2.3.23.54"},
		{"RXNFGBC", cRXNFGBC, "8.2.3.23.35"}, {"RXDGBC", cRXDGBC, "8.2.3.23.37"}, {"RXDDGBC", 0x02f60, "8.2.3.23.39"},
		{"RXLPBKGBC", 0x02f6c, "8.2.3.23.41"}, {"RXDLPBKGBC", 0x02f78, "8.2.3.23.43"}, {"TXDGBC", cTXDGBC, "8.2.3.23.45"},
	} {
		rows = append(rows, one(c.name+"L", c.off, rc2, 0, c.section), one(c.name+"H", c.off+4, rc2, 0, c.section))
	}
	return rows
}
