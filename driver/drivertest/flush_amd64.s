#include "textflag.h"

// func flushLines(p *byte, n uintptr)
TEXT ·flushLines(SB), NOSPLIT, $0-16
	MOVQ p+0(FP), AX
	MOVQ n+8(FP), BX
	ADDQ AX, BX
	MFENCE
loop:
	CMPQ AX, BX
	JAE  done
	CLFLUSH (AX)
	ADDQ $64, AX
	JMP  loop
done:
	MFENCE
	RET
