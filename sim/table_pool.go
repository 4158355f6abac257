package sim

const (
	rPFVFRE    = 0x051e0
	rPFVFTE    = 0x08110
	rPFMBICR   = 0x00710
	rPFMBIMR   = 0x00720
	rPFVML2FLT = 0x0f000
	rPFVLVF    = 0x0f100
	rPFVLVFB   = 0x0f200
	rPFUTA     = 0x0f400
	rPFMRCTL   = 0x0f600
	rPFMRVLAN  = 0x0f610
	rPFMRVM    = 0x0f630
	rPFDTXGSWC = 0x08220
	rPFVFSPOOF = 0x08200
	rPFVMTXSW  = 0x05180
	rPFVMVIR   = 0x08000
	rMPSAR     = 0x0a600
	rMTQC      = 0x08120
)

var rPFVFLRE = [2]uint32{0x00600, 0x001c0}

// poolRegisters: virtualization (8.2.3.27).
func poolRegisters() []register {
	const section = "8.2.3.27"
	return []register{
		one("PFVTCTL", rPFVTCTL, rw, 0, section),
		many("PFMAILBOX", 0x04b00, 4, 64, sc, 0, section).onRead((*NIC).readPFMAILBOX).onWrite((*NIC).writePFMAILBOX),
		many("PFMBMEM", 0x13000, 4, 64*mailWords, sc, 0, section).onRead((*NIC).readPFMBMEM).onWrite((*NIC).writePFMBMEM),
		many("PFMBICR", rPFMBICR, 4, 4, w1c, 0, section),
		many("PFMBIMR", rPFMBIMR, 4, 2, rw, ^uint32(0), section),
		one("PFVFLRE", rPFVFLRE[0], ro, 0, section).and(rPFVFLRE[1], 4, 1),
		many("PFVFLREC", 0x00700, 4, 2, wo, 0, section).onWrite((*NIC).writePFVFLREC),
		many("PFVFRE", rPFVFRE, 4, 2, rw, 0, section),
		many("PFVFTE", rPFVFTE, 4, 2, rw, 0, section),
		many("PFVML2FLT", rPFVML2FLT, 4, 64, rw, 0, section),
		many("PFVLVF", rPFVLVF, 4, 64, rw, 0, section),
		many("PFVLVFB", rPFVLVFB, 4, 128, rw, 0, section),
		many("PFUTA", rPFUTA, 4, 128, rw, 0, section),
		many("PFMRCTL", rPFMRCTL, 4, 4, rw, 0, section),
		many("PFMRVLAN", rPFMRVLAN, 4, 8, rw, 0, section),
		many("PFMRVM", rPFMRVM, 4, 8, rw, 0, section),
		one("PFDTXGSWC", rPFDTXGSWC, rw, 0, section),
		many("PFVFSPOOF", rPFVFSPOOF, 4, 8, rw, 0, section),
		many("PFVMTXSW", rPFVMTXSW, 4, 2, rw, 0, section),
		many("PFVMVIR", rPFVMVIR, 4, 64, rw, 0, section),
		many("VMECM", 0x08790, 4, 2, rw, 0, section),
	}
}
