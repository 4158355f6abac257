#include "go_asm.h"
#include "textflag.h"

// func prepare(frames []ring.Frame, keep []uint32, most uint32) (bytes uint64, plain bool)
//
// SI frame, CX the frame's number less that of frames, DI the end of keep, R9 most,
// R12 bytes, R13 the addresses of Rest or-ed, R11 VLAN and Info or-ed.
TEXT ·prepare(SB), NOSPLIT, $0-65
	MOVQ frames_base+0(FP), SI
	MOVQ frames_len+8(FP), CX
	MOVQ keep_base+24(FP), DI
	LEAQ (DI)(CX*4), DI
	MOVL most+48(FP), R9
	XORL R12, R12
	XORL R13, R13
	XORL R11, R11
	NEGQ CX
	JZ   done

next:
	MOVQ const_frameData(SI), R8
	PREFETCHT0 (R8)
	MOVL const_frameLen(SI), AX
	ADDQ AX, R12
	ORQ  const_frameRest(SI), R13
	ORL  const_frameVLAN(SI), R11
	CMPL AX, R9
	CMOVLHI R9, AX
	CMPL AX, $1 // borrows from 0
	ADCL $0, AX
	MOVL AX, (DI)(CX*4)
	ADDQ $const_frameBytes, SI
	INCQ CX
	JNZ  next

done:
	MOVQ R12, bytes+56(FP)
	ANDL $const_strippedInfo, R11
	ORQ  R11, R13
	SETEQ plain+64(FP)
	RET
