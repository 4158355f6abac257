package reg

// Access says what reading and writing a register does.
type Access uint8

const (
	RW Access = iota // plain
	RO               // reading has no effect, writing neither
	WO               // reading means nothing
	RC               // reading clears it
	RS               // reading has another effect: it takes a semaphore
)

// Readable tells whether reading leaves the device as it was.
func (a Access) Readable() bool { return a == RW || a == RO }

// Row describes a register or an array of registers.
type Row struct {
	Name    string
	At      func(i int) Offset
	N       int  // elements
	Queues  bool // one element per queue
	Access  Access
	Section string // of the datasheet
}

func one(o Offset) func(int) Offset { return func(int) Offset { return o } }

// Table is every register the driver uses.
func Table() []Row {
	single := func(name string, o Offset, a Access, section string) Row {
		return Row{Name: name, At: one(o), N: 1, Access: a, Section: section}
	}
	array := func(name string, at func(int) Offset, n int, a Access, section string) Row {
		return Row{Name: name, At: at, N: n, Access: a, Section: section}
	}
	queue := func(name string, at func(int) Offset, a Access, section string) Row {
		return Row{Name: name, At: at, N: 128, Queues: true, Access: a, Section: section}
	}
	return []Row{
		single("CTRL", CTRL, RW, "8.2.3.1"),
		single("STATUS", STATUS, RO, "8.2.3.1"),
		single("CTRL_EXT", CTRL_EXT, RW, "8.2.3.1"),
		single("ESDP", ESDP, RW, "8.2.3.1"),
		single("I2CCTL", I2CCTL, RW, "8.2.3.1"),
		single("EEC", EEC, RW, "8.2.3.2"),
		single("EERD", EERD, RW, "8.2.3.2"),
		single("SWSM", SWSM, RS, "8.2.3.4"),
		single("FWSM", FWSM, RO, "8.2.3.4"),
		single("SW_FW_SYNC", SW_FW_SYNC, RW, "8.2.3.4"),
		single("GCR_EXT", GCR_EXT, RW, "8.2.3.4"),
		single("EICR", EICR, RC, "8.2.3.5"),
		single("EICS", EICS, RO, "8.2.3.5"),
		single("EIAC", EIAC, RW, "8.2.3.5"),
		single("EIMS", EIMS, RW, "8.2.3.5"),
		single("EIMC", EIMC, WO, "8.2.3.5"),
		single("GPIE", GPIE, RW, "8.2.3.5"),
		single("IVAR_MISC", IVAR_MISC, RW, "8.2.3.5"),
		array("IVAR", IVAR, 64, RW, "8.2.3.5"),
		array("EITR", EITR, 64, RW, "8.2.3.5"),
		array("EICS_EX", EICS_EX, 2, WO, "8.2.3.5"),
		array("EIMS_EX", EIMS_EX, 2, RW, "8.2.3.5"),
		array("EIMC_EX", EIMC_EX, 2, WO, "8.2.3.5"),
		array("EIAM_EX", EIAM_EX, 2, RW, "8.2.3.5"),
		single("FCRTV", FCRTV, RW, "8.2.3.3"),
		single("FCCFG", FCCFG, RW, "8.2.3.3"),
		array("FCTTV", FCTTV, 4, RW, "8.2.3.3"),
		array("FCRTL", FCRTL, 8, RW, "8.2.3.3"),
		array("FCRTH", FCRTH, 8, RW, "8.2.3.3"),
		single("FCTRL", FCTRL, RW, "8.2.3.7"),
		single("VLNCTRL", VLNCTRL, RW, "8.2.3.7"),
		single("RXCSUM", RXCSUM, RW, "8.2.3.7"),
		single("RFCTL", RFCTL, RW, "8.2.3.7"),
		single("MRQC", MRQC, RW, "8.2.3.7"),
		array("RAL", RAL, 128, RW, "8.2.3.7"),
		array("RAH", RAH, 128, RW, "8.2.3.7"),
		array("RETA", RETA, 32, RW, "8.2.3.7"),
		array("RSSRK", RSSRK, 10, RW, "8.2.3.7"),
		queue("RDBAL", RDBAL, RW, "8.2.3.8"),
		queue("RDBAH", RDBAH, RW, "8.2.3.8"),
		queue("RDLEN", RDLEN, RW, "8.2.3.8"),
		queue("RDH", RDH, RO, "8.2.3.8"),
		queue("RDT", RDT, RW, "8.2.3.8"),
		queue("SRRCTL", SRRCTL, RW, "8.2.3.8"),
		queue("DCA_RXCTRL", DCA_RXCTRL, RW, "8.2.3.11"),
		queue("RXDCTL", RXDCTL, RW, "8.2.3.8"),
		queue("RSCCTL", RSCCTL, RW, "8.2.3.8"),
		single("RDRXCTL", RDRXCTL, RW, "8.2.3.8"),
		single("RXCTRL", RXCTRL, RW, "8.2.3.8"),
		single("RSCDBU", RSCDBU, RW, "8.2.3.8"),
		array("RXPBSIZE", RXPBSIZE, 8, RW, "8.2.3.8"),
		single("SECRXCTRL", SECRXCTRL, RW, "8.2.3.13"),
		single("SECRXSTAT", SECRXSTAT, RO, "8.2.3.13"),
		single("DMATXCTL", DMATXCTL, RW, "8.2.3.9"),
		single("DTXMXSZRQ", DTXMXSZRQ, RW, "8.2.3.9"),
		single("MTQC", MTQC, RW, "8.2.3.9"),
		single("RTTDCS", RTTDCS, RW, "8.2.3.10"),
		array("TXPBSIZE", TXPBSIZE, 8, RW, "8.2.3.9"),
		array("TXPBTHRESH", TXPBTHRESH, 8, RW, "8.2.3.9"),
		queue("TDBAL", TDBAL, RW, "8.2.3.9"),
		queue("TDBAH", TDBAH, RW, "8.2.3.9"),
		queue("TDLEN", TDLEN, RW, "8.2.3.9"),
		queue("DCA_TXCTRL", DCA_TXCTRL, RW, "8.2.3.11"),
		queue("TDH", TDH, RO, "8.2.3.9"),
		queue("TDT", TDT, RW, "8.2.3.9"),
		queue("TXDCTL", TXDCTL, RW, "8.2.3.9"),
		single("HLREG0", HLREG0, RW, "8.2.3.22"),
		single("MAXFRS", MAXFRS, RW, "8.2.3.22"),
		single("MFLCN", MFLCN, RW, "8.2.3.22"),
		single("AUTOC", AUTOC, RW, "8.2.3.22"),
		single("AUTOC2", AUTOC2, RW, "8.2.3.22"),
		single("LINKS", LINKS, RO, "8.2.3.22"),
		single("CORECTL", CORECTL, RW, "8.2.3.22"),
		array("RQSMR", RQSMR, 32, RW, "8.2.3.23"),
		array("TQSM", TQSM, 32, RW, "8.2.3.23"),
		single("CRCERRS", CRCERRS, RC, "8.2.3.23"),
		single("ILLERRC", ILLERRC, RC, "8.2.3.23"),
		single("ERRBC", ERRBC, RC, "8.2.3.23"),
		single("RLEC", RLEC, RC, "8.2.3.23"),
		single("RUC", RUC, RC, "8.2.3.23"),
		single("RFC", RFC, RC, "8.2.3.23"),
		single("ROC", ROC, RC, "8.2.3.23"),
		single("RJC", RJC, RC, "8.2.3.23"),
		single("GPRC", GPRC, RC, "8.2.3.23"),
		single("GORCL", GORCL, RC, "8.2.3.23"),
		single("GORCH", GORCH, RC, "8.2.3.23"),
		single("GPTC", GPTC, RC, "8.2.3.23"),
		single("GOTCL", GOTCL, RC, "8.2.3.23"),
		single("GOTCH", GOTCH, RC, "8.2.3.23"),
		array("RXMPC", RXMPC, 8, RC, "8.2.3.23"),
		array("QPRC", QPRC, 16, RC, "8.2.3.23"),
		array("QBRC_L", QBRCL, 16, RC, "8.2.3.23"),
		array("QBRC_H", QBRCH, 16, RC, "8.2.3.23"),
		array("QPRDC", QPRDC, 16, RC, "8.2.3.23"),
		array("QPTC", QPTC, 16, RC, "8.2.3.23"),
	}
}
