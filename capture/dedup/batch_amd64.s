#include "go_asm.h"
#include "textflag.h"

// ROUND_BETWEEN stands before the bytes that end the frame, some of which have been
// taken already, so that those cannot cancel.
#define ROUND_BETWEEN \
	VAESENC X12, X0, X0 \
	VAESENC X13, X1, X1 \
	VAESENC X14, X2, X2 \
	VAESENC X15, X3, X3

// func hashFramesAES(frames []ring.Frame, keep []uint32, out []uint64, p *hashing) int
//
// SI frame, CX frames left, DX its keep, DI its hash, BX p, R8 data, R9 bytes to hash.
// Four lanes X0 to X3 begin as the keys X12 to X15, the first with the length and tag;
// long frames have eight. A lane takes 16 bytes as the key of a round of AES.
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

	// R9 bytes, more than 64. As many of the fourth frame from here are prefetched: R10 is
	// how far ahead it is.
long:
	VMOVDQA X13, X1
	VMOVDQA X14, X2
	VMOVDQA X15, X3
	MOVL $512, R10
	CMPQ CX, $4
	JLE  start
	MOVQ (const_frameData+4*const_frameBytes)(SI), R10
	SUBQ R8, R10

start:
	CMPQ R9, $256
	JAE  longer
	LEAQ -64(R8)(R9*1), R11

	// 64 bytes at a time, the last time those that end the frame.
more:
	VAESENC (R8), X0, X0
	VAESENC 16(R8), X1, X1
	VAESENC 32(R8), X2, X2
	VAESENC 48(R8), X3, X3
	PREFETCHT0 (R8)(R10*1)
	ADDQ $64, R8
	CMPQ R8, R11
	JB   more
	ROUND_BETWEEN
	VAESENC (R11), X0, X0
	VAESENC 16(R11), X1, X1
	VAESENC 32(R11), X2, X2
	VAESENC 48(R11), X3, X3
	JMP  finish

	// The same in eight lanes, because a round takes as long as eight begin.
longer:
	LEAQ -128(R8)(R9*1), R11
	VAESENC X13, X12, X4
	VAESENC X14, X13, X5
	VAESENC X15, X14, X6
	VAESENC X12, X15, X7

more128:
	VAESENC (R8), X0, X0
	VAESENC 16(R8), X1, X1
	VAESENC 32(R8), X2, X2
	VAESENC 48(R8), X3, X3
	PREFETCHT0 (R8)(R10*1)
	VAESENC 64(R8), X4, X4
	VAESENC 80(R8), X5, X5
	VAESENC 96(R8), X6, X6
	VAESENC 112(R8), X7, X7
	PREFETCHT0 64(R8)(R10*1)
	SUBQ $-128, R8
	CMPQ R8, R11
	JB   more128
	ROUND_BETWEEN
	VAESENC X12, X4, X4
	VAESENC X13, X5, X5
	VAESENC X14, X6, X6
	VAESENC X15, X7, X7
	VAESENC (R11), X0, X0
	VAESENC 16(R11), X1, X1
	VAESENC 32(R11), X2, X2
	VAESENC 48(R11), X3, X3
	VAESENC 64(R11), X4, X4
	VAESENC 80(R11), X5, X5
	VAESENC 96(R11), X6, X6
	VAESENC 112(R11), X7, X7
	VAESENC X4, X0, X0
	VAESENC X5, X1, X1
	VAESENC X6, X2, X2
	VAESENC X7, X3, X3
	JMP  finish

// The places of a slot, with the upper bit set: for signed comparisons.
DATA places<>+0(SB)/8, $0x8000000000000000
DATA places<>+8(SB)/8, $0x8000000000000001
DATA places<>+16(SB)/8, $0x8000000000000002
DATA places<>+24(SB)/8, $0x8000000000000003
DATA places<>+32(SB)/8, $0x8000000000000004
DATA places<>+40(SB)/8, $0x8000000000000005
DATA places<>+48(SB)/8, $0x8000000000000006
DATA places<>+56(SB)/8, $0x8000000000000007
GLOBL places<>(SB), RODATA|NOPTR, $64

// func enterNewAVX2(t *Table, first int, frames []ring.Frame, hashes []uint64, stamps []clock.Stamp, keep []uint32) int
//
// DI t, SI frame, BX its number, R8 hashes, R9 stamps, R10 keep, R11 seen, R12 refs, R13
// Table.kept. In the loop: AX ns, R15 the word for seen, R14 the slot, DX the record, both
// in bytes from the first. Y8, Y9 places, Y10 the lower 16 bits of each word.
TEXT ·enterNewAVX2(SB), NOSPLIT, $0-120
	MOVQ t+0(FP), DI
	MOVQ frames_base+16(FP), SI
	MOVQ hashes_base+40(FP), R8
	MOVQ stamps_base+64(FP), R9
	MOVQ keep_base+88(FP), R10
	MOVQ Table_seen(DI), R11
	MOVQ Table_refs(DI), R12
	MOVQ Table_kept(DI), R13
	XORL BX, BX
	VMOVDQU places<>+0(SB), Y8
	VMOVDQU places<>+32(SB), Y9
	VPCMPEQQ Y10, Y10, Y10
	VPSRLQ $48, Y10, Y10
	CMPQ BX, frames_len+24(FP)
	JAE  done

next:
	MOVL (R10)(BX*4), DX
	TESTL DX, DX
	JZ   skip
	MOVL const_frameLen(SI), AX
	CMPQ AX, const_frameDataLen(SI)
	JNE  done
	CMPL DX, AX
	JB   done
	CMPL AX, $const_MaxFrame
	JA   done
	MOVL (R9)(BX*8), AX
	IMULQ $1000000000, AX
	MOVL 4(R9)(BX*8), DX
	ADDQ DX, AX
	MOVQ (R8)(BX*8), DX
	MOVQ DX, R14
	ANDQ Table_mask(DI), R14
	SHLQ $6, R14
	SHRQ $const_half, DX
	MOVQ AX, R15
	SHLQ $(64-const_half), R15
	ORQ  DX, R15

	// A record with the upper bits of the hash?
	VMOVQ R15, X0
	VPBROADCASTW X0, Y1
	VPBROADCASTQ X0, Y0
	VMOVDQU (R11)(R14*1), Y2
	VMOVDQU 32(R11)(R14*1), Y3
	VPCMPEQW Y1, Y2, Y4
	VPCMPEQW Y1, Y3, Y5
	VPOR Y4, Y5, Y4
	VPMOVMSKB Y4, DX
	TESTL $0x03030303, DX
	JNZ  done

	// The oldest: the greatest of ages and places in one word.
	VPOR Y10, Y0, Y0
	VPADDQ Y8, Y0, Y4
	VPADDQ Y9, Y0, Y5
	VPOR Y10, Y2, Y2
	VPOR Y10, Y3, Y3
	VPSUBQ Y2, Y4, Y4
	VPSUBQ Y3, Y5, Y5
	VPCMPGTQ Y5, Y4, Y6
	VBLENDVPD Y6, Y4, Y5, Y4
	VEXTRACTI128 $1, Y4, X5
	VPCMPGTQ X5, X4, X6
	VBLENDVPD X6, X4, X5, X4
	VPSHUFD $0x4e, X4, X5
	VPCMPGTQ X5, X4, X6
	VBLENDVPD X6, X4, X5, X4
	VMOVQ X4, DX
	ANDL $7, DX
	LEAQ (R14)(DX*8), DX

	// Is it younger than the window?
	MOVQ (R12)(DX*1), CX
	SHRQ $const_half, CX
	SHLQ $const_half, CX
	MOVQ (R11)(DX*1), R14
	SHRQ $(64-const_half), R14
	ORQ  R14, CX
	NEGQ CX
	ADDQ AX, CX
	CMPQ CX, Table_window(DI)
	JLS  evicted

replaced:
	MOVQ R15, (R11)(DX*1)
	MOVQ Table_next(DI), CX
	ADDQ R13, CX
	SHLQ $(64-const_half), CX
	SHRQ $(64-const_half), CX
	SHRQ $const_half, AX
	SHLQ $const_half, AX
	ORQ  CX, AX
	MOVQ AX, (R12)(DX*1)
	MOVQ first+8(FP), CX
	ADDQ BX, CX
	MOVW CX, Table_order(DI)(R13*2)
	INCQ R13

skip:
	ADDQ $const_frameBytes, SI
	INCQ BX
	CMPQ BX, frames_len+24(FP)
	JB   next

done:
	VZEROUPPER
	MOVQ R13, AX
	SUBQ Table_kept(DI), AX
	ADDQ AX, (Table_stats+Stats_Frames)(DI)
	MOVQ R13, Table_kept(DI)
	MOVQ BX, ret+112(FP)
	RET

evicted:
	INCQ (Table_stats+Stats_Evicted)(DI)
	JMP  replaced
