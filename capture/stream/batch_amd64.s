#include "go_asm.h"
#include "textflag.h"

// The layouts of ring.Frame and clock.Line come from memory_unsafe.go as
// const_frame... and const_line..., those of window and Entry from go_asm.h itself.
//
// Registers of the routines: R8 data, R10 index, SI frame, CX frames left, R12
// pos, R13 seq, BX window. In the loop: R9 bytes stored of the frame, R14 pos of
// the next record, DI where the record goes, DX where the entry goes. R15 is the
// last stamp in fastAppend and fastAppendCut, the frame's number in fastAppendStamped.

#define TRUNCATED_INFO $0x80000000 // Truncated, where VLAN and Info are one word

// PREFETCHW 512(DI), which the assembler does not know
#define PREFETCHW_RECORD BYTE $0x0F; BYTE $0x0D; BYTE $0x8F; LONG $512

// PREFETCHW 256(DX)
#define PREFETCHW_ENTRY BYTE $0x0F; BYTE $0x0D; BYTE $0x8A; LONG $256

// PREFETCHW (R11)
#define PREFETCHW_HEADER BYTE $0x41; BYTE $0x0F; BYTE $0x0D; BYTE $0x0B

// ARGUMENTS loads the arguments that all routines have.
#define ARGUMENTS(at) \
	MOVQ data_base+0(FP), R8 \
	MOVQ index_base+24(FP), R10 \
	MOVQ frames_base+48(FP), SI \
	MOVQ frames_len+56(FP), CX \
	MOVQ at, BX \
	MOVQ window_pos(BX), R12 \
	MOVQ window_seq(BX), R13

// CHECK_FRAME loads the frame's length into R9. It leaves the loop unless the
// frame lies in one buffer and is no longer than window.most.
#define CHECK_FRAME \
	MOVL const_frameLen(SI), R9 \
	CMPQ R9, const_frameDataLen(SI) \
	JNE  done \
	CMPQ R9, window_most(BX) \
	JA   done

// CHECK_ROOM computes R14. It leaves the loop unless at least 32 bytes are to be
// stored and record and entry fit.
#define CHECK_ROOM \
	CMPQ R9, $32 \
	JB   done \
	LEAQ 12(R12)(R9*1), R14 \
	CMPQ R14, window_endPos(BX) \
	JA   done \
	CMPQ R13, window_endSeq(BX) \
	JAE  done

// STAMP makes a stamp in AX of the counter. It leaves the loop if that is before the
// last one, which R15 is, or in another second. Uses DX, R11.
#define STAMP(line) \
	RDTSC \
	MOVQ line, R11 \
	SHLQ $32, DX \
	ORQ  DX, AX \
	SUBQ const_lineTick(R11), AX \
	MULQ const_lineRate(R11) \
	SHLQ $24, DX \
	SHRQ $40, AX \
	ORQ  DX, AX \
	ADDQ const_lineBase(R11), AX \
	CMPQ AX, R15 \
	JB   done \
	CMPQ AX, $1000000000 \
	JAE  done \
	MOVQ AX, R15 \
	SHLQ $32, AX \
	ORQ  const_lineSec(R11), AX

// RECORD computes DI and stores the stamp.
#define RECORD(stamp) \
	MOVQ R12, DI \
	ANDQ window_mask(BX), DI \
	ADDQ R8, DI \
	MOVQ stamp, (DI)

// ENTRY computes DX and stores the entry but for VLAN and Info, which it leaves
// in R11. AX is caplen and len.
#define ENTRY \
	MOVQ R13, DX \
	ANDQ window_wrap(BX), DX \
	SHLQ $5, DX \
	ADDQ R10, DX \
	MOVQ R12, Entry_Offset(DX) \
	MOVL const_frameHash(SI), R11 \
	MOVL R11, Entry_Hash(DX) \
	MOVL AX, Entry_Caplen(DX) \
	MOVL const_frameVLAN(SI), R11

// COPY copies R9 bytes, at least 32, of the frame behind the record's header, and
// prefetches for the next frames. It jumps to LONG_COPY, which continues at copied.
#define COPY \
	PREFETCHW_RECORD \
	PREFETCHW_ENTRY \
	CMPQ CX, $const_ahead \
	JLE  copy \
	MOVQ (const_frameData+const_ahead*const_frameBytes)(SI), R11 \
	PREFETCHT0 (R11) \
copy: \
	MOVQ const_frameData(SI), R11 \
	ADDQ $12, DI \
	CMPQ R9, $64 \
	JA   long \
	MOVOU (R11), X0 \
	MOVOU 16(R11), X1 \
	MOVOU -32(R11)(R9*1), X2 \
	MOVOU -16(R11)(R9*1), X3 \
	MOVOU X0, (DI) \
	MOVOU X1, 16(DI) \
	MOVOU X2, -32(DI)(R9*1) \
	MOVOU X3, -16(DI)(R9*1) \
copied: \
	MOVQ R14, R12 \
	INCQ R13

// LONG_COPY copies more than 64 bytes: 64 at a time, the last time those that end the
// frame, some of which may have been copied already.
#define LONG_COPY \
long: \
	LEAQ -64(R11)(R9*1), AX \
	LEAQ -64(DI)(R9*1), DX \
more: \
	MOVOU (R11), X0 \
	MOVOU 16(R11), X1 \
	MOVOU 32(R11), X2 \
	MOVOU 48(R11), X3 \
	PREFETCHW_RECORD \
	PREFETCHT0 512(R11) \
	MOVOU X0, (DI) \
	MOVOU X1, 16(DI) \
	MOVOU X2, 32(DI) \
	MOVOU X3, 48(DI) \
	ADDQ $64, R11 \
	ADDQ $64, DI \
	CMPQ R11, AX \
	JB   more \
	MOVOU (AX), X0 \
	MOVOU 16(AX), X1 \
	MOVOU 32(AX), X2 \
	MOVOU 48(AX), X3 \
	MOVOU X0, (DX) \
	MOVOU X1, 16(DX) \
	MOVOU X2, 32(DX) \
	MOVOU X3, 48(DX) \
	JMP  copied

// func prefetchFirst(frames []ring.Frame)
TEXT ·prefetchFirst(SB), NOSPLIT, $0-24
	MOVQ frames_base+0(FP), SI
	MOVQ frames_len+8(FP), CX
	CMPQ CX, $const_ahead
	JLE  done
	MOVQ $const_ahead, CX

next:
	MOVQ const_frameData(SI), AX
	PREFETCHT0 (AX)
	ADDQ $const_frameBytes, SI
	DECQ CX
	JNZ  next

done:
	RET

// func fastAppend(data []byte, index []Entry, frames []ring.Frame, at *window, line *clock.Line) int
TEXT ·fastAppend(SB), NOSPLIT, $0-96
	ARGUMENTS(at+72(FP))
	MOVQ line+80(FP), R11
	MOVQ const_lineLast(R11), R15
	TESTQ CX, CX
	JZ   done

next:
	CHECK_FRAME
	CHECK_ROOM
	STAMP(line+80(FP))
	RECORD(AX)
	MOVL R9, AX
	SHLL $16, AX
	ORL  R9, AX
	MOVL AX, 8(DI)
	ENTRY
	MOVL R11, Entry_VLAN(DX)
	COPY
	ADDQ $const_frameBytes, SI
	DECQ CX
	JNZ  next

done:
	MOVQ R12, window_pos(BX)
	MOVQ R13, window_seq(BX)
	MOVQ line+80(FP), R11
	MOVQ R15, const_lineLast(R11)
	MOVQ frames_len+56(FP), AX
	SUBQ CX, AX
	MOVQ AX, ret+88(FP)
	RET

	LONG_COPY

// func fastPlace(data []byte, index []Entry, descs []ring.RxDescriptor, at *placing, line *clock.Line) int
//
// SI is the descriptor, R9 what is kept of the frame, R14 its hash, R8 VLAN and Info of the
// entry, DI where the header goes. All of it takes less time than RDTSC, beside which it is
// executed.
TEXT ·fastPlace(SB), NOSPLIT, $0-96
	MOVQ index_base+24(FP), R10
	MOVQ descs_base+48(FP), SI
	MOVQ descs_len+56(FP), CX
	MOVQ at+72(FP), BX
	MOVQ placing_pos(BX), R12
	MOVQ placing_seq(BX), R13
	MOVQ placing_first(BX), DI
	ADDQ data_base+0(FP), DI
	MOVQ line+80(FP), R11
	MOVQ const_lineLast(R11), R15
	TESTQ CX, CX
	JZ   done

next:
	MOVQ 8(SI), R9 // acquire A1 of package ring: before word 0
	MOVQ (SI), R14
	MOVL R9, AX
	ANDL $const_fastMask, AX
	CMPL AX, $const_fastValue
	JNE  done
	TESTL $const_pktETQF, R14
	JNZ  done

	MOVL R9, DX
	SHLL $6, DX
	ANDL $0x1c00, DX
	MOVL R14, AX
	ANDL $0x3ff, AX
	ORL  DX, AX
	MOVQ placing_infos(BX), R11
	MOVWLZX (R11)(AX*2), R8
	ORL  placing_info(BX), R8
	SHLL $16, R8

	XORL DX, DX
	MOVL R14, AX
	SHRQ $32, R14
	TESTL $15, AX
	CMOVLEQ DX, R14

	SHRQ $32, R9
	MOVWLZX R9, R9
	LEAL -1(R9), AX
	CMPL AX, placing_limit(BX)
	JAE  done
	MOVL R9, AX
	SHLL $16, AX
	CMPL R9, placing_most(BX)
	JA   cut

whole:
	ORL  R9, AX
	MOVL AX, 8(DI)
	LEAQ 12(R12)(R9*1), AX
	CMPQ AX, placing_endPos(BX)
	JA   done
	STAMP(line+80(FP))
	MOVQ AX, (DI)

	MOVQ R13, DX
	ANDQ placing_wrap(BX), DX
	SHLQ $5, DX
	ADDQ R10, DX
	PREFETCHW_ENTRY
	MOVQ R12, Entry_Offset(DX)
	MOVL R14, Entry_Hash(DX)
	MOVL R8, Entry_VLAN(DX)
	MOVL 8(DI), AX
	MOVL AX, Entry_Caplen(DX)
	SHRL $16, AX
	ADDQ AX, placing_wire(BX)
	SHRL $31, R8
	ADDQ R8, placing_truncated(BX)
	MOVQ DI, AX
	SUBQ data_base+0(FP), AX
	SHRQ $2, AX
	MOVL AX, Entry_Place(DX)

	MOVQ placing_refill(BX), AX
	TESTQ AX, AX
	JZ   refilled
	MOVQ AX, (SI)
	MOVQ $0, 8(SI)
	ADDQ placing_stride(BX), AX
	MOVQ AX, placing_refill(BX)

refilled:
	MOVQ placing_ahead(BX), R11
	ADDQ DI, R11
	PREFETCHW_HEADER
	PREFETCHT0 256(SI)
	LEAQ 12(R12)(R9*1), R12
	INCQ R13
	ADDQ placing_stride(BX), DI
	ADDQ $16, SI
	DECQ CX
	JNZ  next

done:
	MOVQ R12, placing_pos(BX)
	MOVQ R13, placing_seq(BX)
	MOVQ line+80(FP), R11
	MOVQ R15, const_lineLast(R11)
	MOVQ descs_len+56(FP), AX
	SUBQ CX, AX
	MOVQ AX, ret+88(FP)
	RET

cut:
	MOVL placing_most(BX), R9
	ORL  TRUNCATED_INFO, R8
	JMP  whole

// func fastAppendCut(data []byte, index []Entry, frames []ring.Frame, keep []uint32, at *window, line *clock.Line) int
TEXT ·fastAppendCut(SB), NOSPLIT, $0-120
	ARGUMENTS(at+96(FP))
	MOVQ line+104(FP), R11
	MOVQ const_lineLast(R11), R15
	TESTQ CX, CX
	JZ   done

next:
	MOVQ keep_base+72(FP), R11
	MOVQ frames_len+56(FP), AX
	SUBQ CX, AX
	MOVL (R11)(AX*4), R11
	TESTL R11, R11
	JZ   skip
	CHECK_FRAME
	CMPL R11, R9
	CMOVLCS R11, R9
	CHECK_ROOM
	STAMP(line+104(FP))
	RECORD(AX)
	MOVL const_frameLen(SI), AX
	SHLL $16, AX
	ORL  R9, AX
	MOVL AX, 8(DI)
	ENTRY
	CMPL R9, const_frameLen(SI)
	JNE  cut

entered:
	MOVL R11, Entry_VLAN(DX)
	COPY

skip:
	ADDQ $const_frameBytes, SI
	DECQ CX
	JNZ  next

done:
	MOVQ R12, window_pos(BX)
	MOVQ R13, window_seq(BX)
	MOVQ line+104(FP), R11
	MOVQ R15, const_lineLast(R11)
	MOVQ frames_len+56(FP), AX
	SUBQ CX, AX
	MOVQ AX, ret+112(FP)
	RET

cut:
	ORL  TRUNCATED_INFO, R11
	INCQ window_truncated(BX)
	JMP  entered

	LONG_COPY

// func fastAppendStamped(data []byte, index []Entry, frames []ring.Frame, stamps []clock.Stamp, keep []uint32, at *window) int
TEXT ·fastAppendStamped(SB), NOSPLIT, $0-136
	ARGUMENTS(at+120(FP))
	XORL R15, R15
	TESTQ CX, CX
	JZ   done

next:
	CHECK_FRAME

	// The length goes to the upper half of DX, what is kept of it to R9.
	MOVL R9, DX
	SHLL $16, DX
	MOVQ keep_base+96(FP), R11
	TESTQ R11, R11
	JZ   whole
	MOVL (R11)(R15*4), R11
	CMPL R11, R9
	CMOVLCS R11, R9

whole:
	CHECK_ROOM
	MOVQ stamps_base+72(FP), R11
	MOVQ (R11)(R15*8), R11
	TESTQ R11, R11
	JZ   done

	RECORD(R11)
	MOVL DX, AX
	ORL  R9, AX
	MOVL AX, 8(DI)
	ENTRY
	CMPL R9, const_frameLen(SI)
	JNE  cut

entered:
	MOVL R11, Entry_VLAN(DX)
	COPY
	INCQ R15
	ADDQ $const_frameBytes, SI
	DECQ CX
	JNZ  next

done:
	MOVQ R12, window_pos(BX)
	MOVQ R13, window_seq(BX)
	MOVQ R15, ret+128(FP)
	RET

cut:
	ORL  TRUNCATED_INFO, R11
	INCQ window_truncated(BX)
	JMP  entered

	LONG_COPY
