#include "go_asm.h"
#include "textflag.h"

// func hashFramesAES(frames []ring.Frame, keep []uint32, out []uint64, p *hashing) int
//
// SI frame, CX frames left, DX its keep, DI its hash, BX p, R8 data, R9 bytes to hash.
// Four lanes X0 to X3 begin as the keys X12 to X15, the first with the length and tag.
// A lane takes 16 bytes as the key of a round of AES.
TEXT ·hashFramesAES(SB), NOSPLIT, $0-88
	MOVQ frames_base+0(FP), SI
	MOVQ frames_len+8(FP), CX
	MOVQ keep_base+24(FP), DX
	MOVQ out_base+48(FP), DI
	MOVQ p+72(FP), BX
	VMOVDQU (hashing_keys+0)(BX), X12
	VMOVDQU (hashing_keys+16)(BX), X13
	VMOVDQU (hashing_keys+32)(BX), X14
	VMOVDQU (hashing_keys+48)(BX), X15
	TESTQ CX, CX
	JZ   done

next:
	CMPQ CX, $const_ahead
	JLE  fetched
	MOVQ (const_frameData+const_ahead*const_frameBytes)(SI), R8
	PREFETCHT0 (R8)

fetched:
	CMPL (DX), $0
	JE   skip
	MOVL const_frameLen(SI), R9
	CMPQ R9, const_frameDataLen(SI)
	JNE  done
	CMPQ R9, $const_MaxFrame
	JA   done
	MOVL const_frameVLAN(SI), R10
	MOVL R10, AX
	ANDL $const_tagInfo, AX
	CMPL AX, $const_tagInfo
	MOVL $0, AX
	JE   tagged

keyed:
	ORQ  R9, AX
	VMOVQ AX, X0
	VPXOR X12, X0, X0
	CMPQ R9, hashing_most(BX)
	CMOVQHI hashing_most(BX), R9
	CMPQ R9, $const_shortest
	JB   done
	MOVQ const_frameData(SI), R8
	CMPQ R9, $64
	JA   long

	// At 0, min(16, n-16), max(n-32, 0) and n-16.
	LEAQ -16(R9), R10
	MOVL $16, R11
	CMPQ R10, R11
	CMOVQCS R10, R11
	XORL AX, AX
	SUBQ $32, R9
	CMOVQCS AX, R9
	VAESENC (R8), X0, X0
	VAESENC (R8)(R11*1), X13, X1
	VAESENC (R8)(R9*1), X14, X2
	VAESENC (R8)(R10*1), X15, X3

	// One lane after the other, so that bytes that are taken twice cannot cancel.
finish:
	VAESENC X1, X0, X0
	VAESENC X2, X0, X0
	VAESENC X3, X0, X0
	VAESENC X13, X0, X0
	VAESENC X14, X0, X0
	VAESENC X15, X0, X0
	VMOVQ X0, AX
	MOVQ AX, (DI)
	ANDQ hashing_mask(BX), AX
	MOVQ hashing_pools(BX), R9
	IMULQ R9, AX
	MOVQ hashing_seen(BX), R10
	MOVQ hashing_refs(BX), R11
	LEAQ (R10)(AX*8), R10
	PREFETCHT0 (R10)
	PREFETCHT0 -8(R10)(R9*8)
	PREFETCHT0 (R11)(AX*8)

skip:
	ADDQ $const_frameBytes, SI
	ADDQ $4, DX
	ADDQ $8, DI
	DECQ CX
	JNZ  next

done:
	MOVQ frames_len+8(FP), AX
	SUBQ CX, AX
	MOVQ AX, ret+80(FP)
	RET

tagged:
	MOVWLZX R10, AX
	ORL  $0x10000, AX
	SHLQ $32, AX
	ANDQ hashing_tags(BX), AX
	JMP  keyed

	// 64 bytes at a time, the last time those that end the frame.
long:
	VMOVDQA X13, X1
	VMOVDQA X14, X2
	VMOVDQA X15, X3
	LEAQ -64(R8)(R9*1), R11

more:
	VAESENC (R8), X0, X0
	VAESENC 16(R8), X1, X1
	VAESENC 32(R8), X2, X2
	VAESENC 48(R8), X3, X3
	PREFETCHT0 512(R8)
	ADDQ $64, R8
	CMPQ R8, R11
	JB   more

	// A round between, so that bytes that are taken twice cannot cancel.
	VAESENC X12, X0, X0
	VAESENC X13, X1, X1
	VAESENC X14, X2, X2
	VAESENC X15, X3, X3
	VAESENC (R11), X0, X0
	VAESENC 16(R11), X1, X1
	VAESENC 32(R11), X2, X2
	VAESENC 48(R11), X3, X3
	JMP  finish
