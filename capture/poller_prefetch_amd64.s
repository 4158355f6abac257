#include "go_asm.h"
#include "textflag.h"

// func prefetchFrames(frames []ring.Frame)
TEXT ·prefetchFrames(SB), NOSPLIT, $0-24
	MOVQ frames_base+0(FP), AX
	MOVQ frames_len+8(FP), CX
	TESTQ CX, CX
	JZ   done

next:
	MOVQ const_dataOffset(AX), DX
	PREFETCHT0 (DX)
	ADDQ $const_frameBytes, AX
	DECQ CX
	JNZ  next

done:
	RET
