#include "textflag.h"

// func Store32(p *uint32, v uint32)
TEXT ·Store32(SB), NOSPLIT, $0-12
	MOVD  p+0(FP), R0
	MOVWU v+8(FP), R1
	DMB   $0x2              // OSHST: stores, outer shareable
	MOVW  R1, (R0)
	RET
