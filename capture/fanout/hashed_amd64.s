#include "go_asm.h"
#include "textflag.h"

// func fastRun(entries []entry.Entry, data []byte, mask, keep, others uint64, t *table, tunnelsUDP bool) int
//
// SI entry, CX entries left, BX data, R8 mask, R9 table, R10 its words, R13 and BP keep
// and others, R14 and R15 keys of the hash. Of a frame: DI record, R11 and AX the ends of
// its flow, then AX their hash and the word.
TEXT ·fastRun(SB), NOSPLIT, $8-96
	MOVQ entries_base+0(FP), SI
	MOVQ entries_len+8(FP), CX
	MOVQ data_base+24(FP), BX
	MOVQ mask+48(FP), R8
	MOVQ keep+56(FP), R13
	MOVQ others+64(FP), BP
	MOVQ t+72(FP), R9
	MOVQ table_words(R9), R10
	MOVQ $const_keyEnd, R14
	MOVQ $const_keyFinal, R15
	TESTQ CX, CX
	JZ   done

next:
	CMPW const_entryCaplen(SI), $const_fastLeast
	JB   done
	MOVQ const_entryOffset(SI), DI
	ANDQ R8, DI
	ADDQ BX, DI
	MOVL const_firstAt(DI), AX
	SHLL $8, AX
	CMPL AX, $const_typeIPv4At
	JNE  done
	MOVL const_flagsAt(DI), AX
	ANDL $const_flagsMask, AX
	CMPL AX, $const_flagsTCP
	JNE  udp

hash:
	MOVL const_srcAt(DI), AX
	MOVL const_dstAt(DI), R11
	SHLQ $16, AX
	SHLQ $16, R11
	MOVW const_portsAt(DI), AX // into the lower 16 bits
	MOVW (const_portsAt+2)(DI), R11
	XORQ R14, AX
	XORQ R14, R11
	MULQ R11
	XORQ DX, AX
	IMULQ R15, AX
	SHRQ $(64-const_tableBits), AX
	MOVWLZX table_index(R9)(AX*2), AX
	SHLQ $const_wordShift, AX
	ADDQ R10, AX

	MOVQ const_entryMember(SI), DX
	ANDQ R13, DX
	ORQ  BP, DX
	ORQ  word_members(AX), DX
	MOVQ DX, const_entryMember(SI)
	MOVWLZX const_entryCaplen(SI), DX
	INCQ (word_count+count_frames)(AX)
	ADDQ DX, (word_count+count_bytes)(AX)
	ADDQ $const_entryBytes, SI
	DECQ CX
	JNZ  next

done:
	MOVQ entries_len+8(FP), AX
	SUBQ CX, AX
	MOVQ AX, ret+88(FP)
	RET

udp:
	CMPL AX, $const_flagsUDP
	JNE  done
	CMPB tunnelsUDP+80(FP), $0
	JE   hash
	MOVWLZX (const_portsAt+2)(DI), DX
	CMPL DX, $const_vxlanPort
	JE   done
	CMPL DX, $const_gtpuPort
	JE   done
	CMPL DX, $const_mplsPort
	JE   done
	JMP  hash
