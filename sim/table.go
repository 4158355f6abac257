package sim

import "slices"

// The register table. Each register is declared once, as a row of the function
// for its chapter; the offsets that the model's code uses are constants above
// that function, which the row takes its offset from.

// registerTable is every register that a controller has, in the order of the
// datasheet's chapters.
func registerTable(kind *variant) []register {
	return slices.Concat(controlRegisters(kind), nvmRegisters(kind), interruptRegisters(), receiveRegisters(kind), filterRegisters(kind),
		transmitRegisters(), poolRegisters(), macRegisters(kind), countRegisters(), otherRegisters())
}

const (
	rCTRL    = 0x00000
	rSTATUS  = 0x00008
	rCTRLEXT = 0x00018
	rESDP    = 0x00020
	rGCREXT  = 0x11050
)

// controlRegisters: general control (8.2.3.1) and PCIe (8.2.3.3).
func controlRegisters(kind *variant) []register {
	ciaa, ciad := kind.configAccess()
	return []register{
		one("CTRL", rCTRL, sc, 0, "8.2.3.1").alias(0x00004, 4, 1).onRead((*NIC).readCTRL).onWrite((*NIC).writeCTRL),
		one("STATUS", rSTATUS, ro, 0, "8.2.3.1").onRead((*NIC).readSTATUS),
		one("CTRL_EXT", rCTRLEXT, sc, 0, "8.2.3.1").onWrite((*NIC).writeCTRLEXT),
		// The EEPROM makes SDP3 an output.
		one("ESDP", rESDP, sc, esdpLaser<<8, "8.2.3.1").onRead((*NIC).readESDP).onWrite((*NIC).writeESDP),
		one("I2CCTL", 0x00028, sc, 0xf, "8.2.3.1").onRead((*NIC).readI2CCTL).onWrite((*NIC).writeI2CCTL),
		one("LEDCTL", 0x00200, rw, 0, "8.2.3.1").kept(),
		one("FRTIMER", 0x00048, ro, 0, "").onRead((*NIC).readFRTIMER),
		one("TCPTIMER", 0x0004c, rw, 0, ""),
		one("CORECTL", 0x14f00, rw, 0, "8.2.3.22").kept(),

		one("GCR", 0x11000, rw, 0, "8.2.3.4"),
		many("GSCL", 0x11010, 4, 4, rw, 0, "8.2.3.4").and(0x11030, 4, 4),
		many("GSCN", 0x11020, 4, 4, ro, 0, "8.2.3.4"),
		one("GCR_EXT", rGCREXT, sc, 0, "8.2.3.4").onWrite((*NIC).writeGCREXT),
		one("MREVID", 0x11064, ro, 0, "8.2.3.4"),
		one("PBACL", 0x11068, w1c, 0, "8.2.3.5").and(0x110c4, 4, 7),
		one("DCA_ID", 0x11070, ro, 0, "8.2.3.11"),
		one("DCA_CTRL", 0x11074, rw, 1, "8.2.3.11"),
		one("CIAA", ciaa, rw, 0, "8.2.3.4"),
		one("CIAD", ciad, rw, 0, "8.2.3.4").onRead((*NIC).readCIAD).onWrite((*NIC).writeCIAD),
		one("PICAUSE", 0x110b0, w1c, 0, "8.2.3.4"),
		one("PIENA", 0x110b8, rw, 0, "8.2.3.4"),
		one("FACTPS", 0x10150, ro, 0, "8.2.3.4"),
	}
}

const (
	rEEC  = 0x10010
	rEERD = 0x10014
	rEEWR = 0x10018
)

// nvmRegisters: EEPROM and flash (8.2.3.2), semaphores and firmware (8.2.3.4).
func nvmRegisters(kind *variant) []register {
	rows := []register{
		one("EEC", rEEC, sc, 0, "8.2.3.2").onRead((*NIC).readEEC).onWrite((*NIC).writeEEC).kept(),
		one("FLA", 0x1001c, rw, 0, "8.2.3.2"),
		one("GRC", 0x10200, rw, 0, "8.2.3.2"),
		one("SWSM", 0x10140, sc, 0, "8.2.3.4").onRead((*NIC).readSWSM).onWrite((*NIC).writeSWSM),
		// Firmware is valid (bit 15), without management mode.
		one("FWSM", 0x10148, ro, 1<<15, "8.2.3.4"),
		one("SW_FW_SYNC", 0x10160, sc, 0, "8.2.3.4").onRead((*NIC).readSYNC).onWrite((*NIC).writeSYNC),
		one("FWSTS", 0x15f0c, ro, 0, "8.2.3.4"),
	}
	if kind.family == familyX550 {
		return append(rows,
			one("HICR", rHICR, sc, hicrEnabled, "8.2.3.4").onWrite((*NIC).writeHICR),
			many("FLEX_MNG", rFLEXMNG, 4, hostWords, rw, 0, ""))
	}
	return append(rows,
		one("EERD", rEERD, sc, 0x2, "8.2.3.2").onWrite((*NIC).writeEERD),
		one("EEWR", rEEWR, sc, 0x2, "8.2.3.2").onWrite((*NIC).writeEEWR),
		one("HICR", rHICR, ro, 0, "8.2.3.4"))
}

const (
	rEICR     = 0x00800
	rEIMS     = 0x00880
	rEIAC     = 0x00810
	rEIAM     = 0x00890
	rEIAMEX   = 0x00ad0
	rEITR     = 0x00820
	rEITR24   = 0x12300
	rGPIE     = 0x00898
	rIVAR     = 0x00900
	rIVARMISC = 0x00a00
)

// interruptRegisters: 8.2.3.5.
func interruptRegisters() []register {
	return []register{
		one("EICR", rEICR, sc, 0, "8.2.3.5").onRead((*NIC).readEICR).onWrite((*NIC).writeEICR),
		one("EICS", 0x00808, sc, 0, "8.2.3.5").onRead((*NIC).readEICS).onWrite((*NIC).writeEICS),
		one("EIMS", rEIMS, sc, 0, "8.2.3.5").onRead((*NIC).readEIMS).onWrite((*NIC).writeEIMS),
		one("EIMC", 0x00888, wo, 0, "8.2.3.5").onWrite((*NIC).writeEIMC),
		one("EIAC", rEIAC, rw, 0, "8.2.3.5"),
		one("EIAM", rEIAM, rw, 0, "8.2.3.5"),
		many("EICS_EX", 0x00a90, 4, 2, wo, 0, "8.2.3.5").onWrite((*NIC).writeEICSEX),
		many("EIMS_EX", 0x00aa0, 4, 2, sc, 0, "8.2.3.5").onRead((*NIC).readEIMSEX).onWrite((*NIC).writeEIMSEX),
		many("EIMC_EX", 0x00ab0, 4, 2, wo, 0, "8.2.3.5").onWrite((*NIC).writeEIMCEX),
		many("EIAM_EX", rEIAMEX, 4, 2, rw, 0, "8.2.3.5"),
		many("EITR", rEITR, 4, 24, rw, 0, "8.2.3.5").and(rEITR24, 4, 105),
		one("EITRSEL", 0x00894, rw, 0, "8.2.3.5"),
		many("IVAR", rIVAR, 4, 64, rw, 0, "8.2.3.5").bits(0xbfbfbfbf),
		one("IVAR_MISC", rIVARMISC, rw, 0, "8.2.3.5").bits(0x0000bfbf),
		one("GPIE", rGPIE, rw, 0, "8.2.3.5"),
		many("RSCINT", 0x12000, 4, 128, rw, 0, "8.2.3.5"),
	}
}
