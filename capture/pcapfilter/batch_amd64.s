#include "go_asm.h"
#include "textflag.h"

// ARGUMENTS: SI frame, CX the frame's number less that of frames, DI the end of the
// numbers, R10 offset, R11 offset behind what is loaded, R12 failed.
#define ARGUMENTS(size, out) \
	MOVQ frames_base+0(FP), SI \
	MOVQ frames_len+8(FP), CX \
	MOVQ out, DI \
	LEAQ (DI)(CX*4), DI \
	LEAQ size(R10), R11 \
	XORL R12, R12 \
	NEGQ CX \
	JZ   done

// LOOP loads the numbers of the frames: LOAD loads that of the frame at R8 to AX.
#define LOOP(LOAD) \
next: \
	MOVQ const_frameData(SI), R8 \
	CMPQ R11, const_frameDataLen(SI) \
	JA   failed \
	LOAD \
	MOVL AX, (DI)(CX*4) \
loaded: \
	ADDQ $const_frameBytes, SI \
	INCQ CX \
	JNZ  next

// IP_LOOP is LOOP at R10 behind the IPv4 header that begins at R9. LOAD loads what
// ends before (R8)(AX*1).
#define IP_LOOP(LOAD) \
next: \
	MOVQ const_frameData(SI), R8 \
	MOVQ const_frameDataLen(SI), R13 \
	CMPQ R9, R13 \
	JAE  failed \
	MOVBLZX (R8)(R9*1), AX \
	ANDL $15, AX \
	LEAQ (R11)(AX*4), AX \
	CMPQ AX, R13 \
	JA   failed \
	LOAD \
	MOVL AX, (DI)(CX*4) \
loaded: \
	ADDQ $const_frameBytes, SI \
	INCQ CX \
	JNZ  next

#define FAILED \
failed: \
	MOVQ frames_len+8(FP), DX \
	ADDQ CX, DX \
	BTSQ DX, R12 \
	JMP  loaded

#define LOAD1 MOVBLZX (R8)(R10*1), AX
#define LOAD2 MOVWLZX (R8)(R10*1), AX; ROLW $8, AX
#define LOAD4 MOVL (R8)(R10*1), AX; BSWAPL AX
#define IP_LOAD2 MOVWLZX -2(R8)(AX*1), AX; ROLW $8, AX
#define IP_LOAD4 MOVL -4(R8)(AX*1), AX; BSWAPL AX

// func compare32(numbers *[MaxBatch]uint32, n int, mask, lo, span uint32) (yes uint64)
//
// A number is in the range if number&mask-lo <= span without sign. With the highest
// bits of lo and span flipped this is a comparison with sign, which SSE2 has. Of 16
// numbers PMOVMSKB gives the 16 that are greater.
TEXT ·compare32(SB), NOSPLIT, $0-40
	MOVQ numbers+0(FP), SI
	MOVQ n+8(FP), BX
	MOVL mask+16(FP), AX
	MOVQ AX, X5
	PSHUFL $0, X5, X5
	MOVL lo+20(FP), AX
	XORL $0x80000000, AX
	MOVQ AX, X6
	PSHUFL $0, X6, X6
	MOVL span+24(FP), AX
	XORL $0x80000000, AX
	MOVQ AX, X7
	PSHUFL $0, X7, X7
	XORL R8, R8
	XORL CX, CX

next:
	CMPQ CX, BX
	JGE  done
	MOVOU (SI), X0
	MOVOU 16(SI), X1
	MOVOU 32(SI), X2
	MOVOU 48(SI), X3
	PAND  X5, X0
	PAND  X5, X1
	PAND  X5, X2
	PAND  X5, X3
	PSUBL X6, X0
	PSUBL X6, X1
	PSUBL X6, X2
	PSUBL X6, X3
	PCMPGTL X7, X0
	PCMPGTL X7, X1
	PCMPGTL X7, X2
	PCMPGTL X7, X3
	PACKSSLW X1, X0
	PACKSSLW X3, X2
	PACKSSWB X2, X0
	PMOVMSKB X0, AX
	XORL $0xffff, AX
	SHLQ CX, AX
	ORQ  AX, R8
	ADDQ $64, SI
	ADDQ $16, CX
	JMP  next

done:
	MOVQ R8, yes+32(FP)
	RET

// func loadBytes(frames []ring.Frame, off uint32, out *[MaxBatch]uint32) (failed uint64)
TEXT ·loadBytes(SB), NOSPLIT, $0-48
	MOVL off+24(FP), R10
	ARGUMENTS(1, out+32(FP))
	LOOP(LOAD1)

done:
	MOVQ R12, failed+40(FP)
	RET

	FAILED

// func loadHalves(frames []ring.Frame, off uint32, out *[MaxBatch]uint32) (failed uint64)
TEXT ·loadHalves(SB), NOSPLIT, $0-48
	MOVL off+24(FP), R10
	ARGUMENTS(2, out+32(FP))
	LOOP(LOAD2)

done:
	MOVQ R12, failed+40(FP)
	RET

	FAILED

// func loadWords(frames []ring.Frame, off uint32, out *[MaxBatch]uint32) (failed uint64)
TEXT ·loadWords(SB), NOSPLIT, $0-48
	MOVL off+24(FP), R10
	ARGUMENTS(4, out+32(FP))
	LOOP(LOAD4)

done:
	MOVQ R12, failed+40(FP)
	RET

	FAILED

// func loadIPHalves(frames []ring.Frame, base, off uint32, out *[MaxBatch]uint32) (failed uint64)
TEXT ·loadIPHalves(SB), NOSPLIT, $0-48
	MOVL base+24(FP), R9
	MOVL off+28(FP), R10
	ARGUMENTS(2, out+32(FP))
	IP_LOOP(IP_LOAD2)

done:
	MOVQ R12, failed+40(FP)
	RET

	FAILED

// func loadIPWords(frames []ring.Frame, base, off uint32, out *[MaxBatch]uint32) (failed uint64)
TEXT ·loadIPWords(SB), NOSPLIT, $0-48
	MOVL base+24(FP), R9
	MOVL off+28(FP), R10
	ARGUMENTS(4, out+32(FP))
	IP_LOOP(IP_LOAD4)

done:
	MOVQ R12, failed+40(FP)
	RET

	FAILED
