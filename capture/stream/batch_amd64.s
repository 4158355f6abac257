#include "go_asm.h"
#include "textflag.h"

// The layout of clock.Line and of ring.Frame, checked by a test.
#define line_tick 0
#define line_rate 8
#define line_base 16
#define line_last 24
#define line_sec  32

#define frame_data  0
#define frame_len   8  // of Data
#define frame_Len   48
#define frame_Hash  52
#define frame_VLAN  56 // and Info
#define frame_bytes 64

#define AHEAD 8 // frames between the prefetch of a frame and its use

// PREFETCHW 512(DI), which the assembler does not know
#define PREFETCHW_RECORD BYTE $0x0F; BYTE $0x0D; BYTE $0x8F; LONG $512

// PREFETCHW 256(DX)
#define PREFETCHW_ENTRY BYTE $0x0F; BYTE $0x0D; BYTE $0x8A; LONG $256

// func plain(data []byte, index []Entry, frames []ring.Frame, at *place, line *clock.Line) int
//
// R8 data, R10 index, SI frame, CX frames left, R12 pos, R13 seq, R15 last stamp,
// BX place, stack line. In the loop: R9 length, R14 pos of the next record, DI
// where the record goes, DX where the entry goes.
TEXT ·plain(SB), NOSPLIT, $0-96
	MOVQ data_base+0(FP), R8
	MOVQ index_base+24(FP), R10
	MOVQ frames_base+48(FP), SI
	MOVQ frames_len+56(FP), CX
	MOVQ at+72(FP), BX
	MOVQ place_pos(BX), R12
	MOVQ place_seq(BX), R13
	MOVQ line+80(FP), R11
	MOVQ line_last(R11), R15
	TESTQ CX, CX
	JZ   done

next:
	// Is it plain, and is there room?
	MOVL frame_Len(SI), R9
	CMPQ R9, frame_len(SI)
	JNE  done
	CMPQ R9, place_most(BX)
	JA   done
	CMPQ R9, $32
	JB   done
	LEAQ 12(R12)(R9*1), R14
	CMPQ R14, place_endPos(BX)
	JA   done
	CMPQ R13, place_endSeq(BX)
	JAE  done

	// Stamp, unless it is before the last one or in another second.
	RDTSC
	MOVQ line+80(FP), R11
	SHLQ $32, DX
	ORQ  DX, AX
	SUBQ line_tick(R11), AX
	MULQ line_rate(R11)
	SHLQ $24, DX
	SHRQ $40, AX
	ORQ  DX, AX
	ADDQ line_base(R11), AX
	CMPQ AX, R15
	JB   done
	CMPQ AX, $1000000000
	JAE  done
	MOVQ AX, R15
	SHLQ $32, AX
	ORQ  line_sec(R11), AX

	// Header.
	MOVQ R12, DI
	ANDQ place_mask(BX), DI
	ADDQ R8, DI
	MOVQ AX, (DI)
	MOVL R9, AX
	SHLL $16, AX
	ORL  R9, AX
	MOVL AX, 8(DI)

	// Index entry.
	MOVQ R13, DX
	ANDQ place_wrap(BX), DX
	SHLQ $5, DX
	ADDQ R10, DX
	MOVQ R12, Entry_Offset(DX)
	MOVL frame_Hash(SI), R11
	MOVL R11, Entry_Hash(DX)
	MOVL frame_VLAN(SI), R11
	MOVL R11, Entry_VLAN(DX)
	MOVL AX, Entry_Caplen(DX)

	PREFETCHW_RECORD
	PREFETCHW_ENTRY
	CMPQ CX, $AHEAD
	JLE  copy
	MOVQ (frame_data+AHEAD*frame_bytes)(SI), R11
	PREFETCHT0 (R11)

copy:
	MOVQ frame_data(SI), R11
	ADDQ $12, DI
	CMPQ R9, $64
	JA   long
	MOVOU (R11), X0
	MOVOU 16(R11), X1
	MOVOU -32(R11)(R9*1), X2
	MOVOU -16(R11)(R9*1), X3
	MOVOU X0, (DI)
	MOVOU X1, 16(DI)
	MOVOU X2, -32(DI)(R9*1)
	MOVOU X3, -16(DI)(R9*1)

copied:
	MOVQ R14, R12
	INCQ R13
	ADDQ $frame_bytes, SI
	DECQ CX
	JNZ  next

done:
	MOVQ R12, place_pos(BX)
	MOVQ R13, place_seq(BX)
	MOVQ line+80(FP), R11
	MOVQ R15, line_last(R11)
	MOVQ frames_len+56(FP), AX
	SUBQ CX, AX
	MOVQ AX, ret+88(FP)
	RET

long:
	// 64 bytes at a time, the last time those that end the frame, whether or not
	// some of them have been copied already.
	LEAQ -64(R11)(R9*1), AX
	LEAQ -64(DI)(R9*1), DX

more:
	MOVOU (R11), X0
	MOVOU 16(R11), X1
	MOVOU 32(R11), X2
	MOVOU 48(R11), X3
	PREFETCHW_RECORD
	PREFETCHT0 512(R11)
	MOVOU X0, (DI)
	MOVOU X1, 16(DI)
	MOVOU X2, 32(DI)
	MOVOU X3, 48(DI)
	ADDQ $64, R11
	ADDQ $64, DI
	CMPQ R11, AX
	JB   more
	MOVOU (AX), X0
	MOVOU 16(AX), X1
	MOVOU 32(AX), X2
	MOVOU 48(AX), X3
	MOVOU X0, (DX)
	MOVOU X1, 16(DX)
	MOVOU X2, 32(DX)
	MOVOU X3, 48(DX)
	JMP  copied

#define TRUNCATED_INFO $0x80000000 // Truncated, where VLAN and Info are one word

// func stamped(data []byte, index []Entry, frames []ring.Frame, stamps []clock.Stamp, keep []uint32, at *place) int
//
// As plain, but R9 is the number of bytes kept and R15 the frame's place in
// stamps and keep.
TEXT ·stamped(SB), NOSPLIT, $0-136
	MOVQ data_base+0(FP), R8
	MOVQ index_base+24(FP), R10
	MOVQ frames_base+48(FP), SI
	MOVQ frames_len+56(FP), CX
	MOVQ at+120(FP), BX
	MOVQ place_pos(BX), R12
	MOVQ place_seq(BX), R13
	XORL R15, R15
	TESTQ CX, CX
	JZ   done

next:
	// Does it lie in one buffer, how much is kept, and is there room?
	MOVL frame_Len(SI), R9
	CMPQ R9, frame_len(SI)
	JNE  done
	CMPQ R9, place_most(BX)
	JA   done
	MOVL R9, DX
	SHLL $16, DX            // the header's lengths
	MOVQ keep_base+96(FP), R11
	TESTQ R11, R11
	JZ   whole
	MOVL (R11)(R15*4), R11
	CMPL R11, R9
	CMOVLCS R11, R9

whole:
	CMPQ R9, $32
	JB   done
	LEAQ 12(R12)(R9*1), R14
	CMPQ R14, place_endPos(BX)
	JA   done
	CMPQ R13, place_endSeq(BX)
	JAE  done
	MOVQ stamps_base+72(FP), R11
	MOVQ (R11)(R15*8), R11
	TESTQ R11, R11
	JZ   done

	// Header.
	MOVQ R12, DI
	ANDQ place_mask(BX), DI
	ADDQ R8, DI
	MOVQ R11, (DI)
	MOVL DX, AX
	ORL  R9, AX
	MOVL AX, 8(DI)

	// Index entry.
	MOVQ R13, DX
	ANDQ place_wrap(BX), DX
	SHLQ $5, DX
	ADDQ R10, DX
	MOVQ R12, Entry_Offset(DX)
	MOVL frame_Hash(SI), R11
	MOVL R11, Entry_Hash(DX)
	MOVL AX, Entry_Caplen(DX)
	MOVL frame_VLAN(SI), R11
	CMPL R9, frame_Len(SI)
	JNE  cut

entered:
	MOVL R11, Entry_VLAN(DX)

	PREFETCHW_RECORD
	PREFETCHW_ENTRY
	CMPQ CX, $AHEAD
	JLE  copy
	MOVQ (frame_data+AHEAD*frame_bytes)(SI), R11
	PREFETCHT0 (R11)

copy:
	MOVQ frame_data(SI), R11
	ADDQ $12, DI
	CMPQ R9, $64
	JA   long
	MOVOU (R11), X0
	MOVOU 16(R11), X1
	MOVOU -32(R11)(R9*1), X2
	MOVOU -16(R11)(R9*1), X3
	MOVOU X0, (DI)
	MOVOU X1, 16(DI)
	MOVOU X2, -32(DI)(R9*1)
	MOVOU X3, -16(DI)(R9*1)

copied:
	MOVQ R14, R12
	INCQ R13
	INCQ R15
	ADDQ $frame_bytes, SI
	DECQ CX
	JNZ  next

done:
	MOVQ R12, place_pos(BX)
	MOVQ R13, place_seq(BX)
	MOVQ R15, ret+128(FP)
	RET

cut:
	ORL  TRUNCATED_INFO, R11
	INCQ place_truncated(BX)
	JMP  entered

long:
	LEAQ -64(R11)(R9*1), AX
	LEAQ -64(DI)(R9*1), DX

more:
	MOVOU (R11), X0
	MOVOU 16(R11), X1
	MOVOU 32(R11), X2
	MOVOU 48(R11), X3
	PREFETCHW_RECORD
	PREFETCHT0 512(R11)
	MOVOU X0, (DI)
	MOVOU X1, 16(DI)
	MOVOU X2, 32(DI)
	MOVOU X3, 48(DI)
	ADDQ $64, R11
	ADDQ $64, DI
	CMPQ R11, AX
	JB   more
	MOVOU (AX), X0
	MOVOU 16(AX), X1
	MOVOU 32(AX), X2
	MOVOU 48(AX), X3
	MOVOU X0, (DX)
	MOVOU X1, 16(DX)
	MOVOU X2, 32(DX)
	MOVOU X3, 48(DX)
	JMP  copied
