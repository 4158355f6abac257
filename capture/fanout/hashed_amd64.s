#include "go_asm.h"
#include "textflag.h"

// func fastRun(entries []entry.Entry, data []byte, mask, others uint64, more bool, t *table, tunnelsUDP bool) int
//
// SI entry, CX entries left, BX data, R8 mask (0 in a pool), R9 table, R10 its words, R13 the members
// to which the frame goes, too, R12 from these to the next frame's, R14 and R15 keys of
// the hash. Of a frame: DI its record, moved on by its tags, R11 and AX the ends of its
// flow, then AX their hash and the word.
TEXT ·fastRun(SB), NOSPLIT, $0-96
	MOVQ entries_base+0(FP), SI
	MOVQ entries_len+8(FP), CX
	MOVQ data_base+24(FP), BX
	MOVQ mask+48(FP), R8
	LEAQ others+56(FP), R13
	XORL R12, R12
	MOVQ t+72(FP), R9
	MOVQ table_words(R9), R10
	MOVQ $const_keyEnd, R14
	MOVQ $const_keyFinal, R15
	TESTQ CX, CX
	JZ   done
	CMPB more+64(FP), $0
	JE   next
	LEAQ const_entryMember(SI), R13
	MOVQ $const_entryBytes, R12

next:
	CMPW const_entryCaplen(SI), $const_fast4
	JB   done
	MOVQ const_entryOffset(SI), DI
	ANDQ R8, DI
	MOVL const_entryPlace(SI), AX
	LEAQ (DI)(AX*4), DI
	MOVL const_typeAt(BX)(DI*1), AX
	SHLL $8, AX
	CMPL AX, $const_typeIPv4Up
	JNE  tag

ip4:
	MOVL const_flagsAt(BX)(DI*1), AX
	ANDL $const_flagsMask, AX
	CMPL AX, $const_flagsTCP
	JNE  udp

hash:
	MOVL const_srcAt(BX)(DI*1), AX
	MOVL const_dstAt(BX)(DI*1), R11
	SHLQ $16, AX
	SHLQ $16, R11
	MOVW const_portsAt(BX)(DI*1), AX // into the lower 16 bits
	MOVW (const_portsAt+2)(BX)(DI*1), R11

fold:
	XORQ R14, AX
	XORQ R14, R11
	MULQ R11
	XORQ DX, AX
	IMULQ R15, AX
	SHRQ $(64-const_tableBits), AX
	MOVWLZX table_index(R9)(AX*2), AX

	MOVQ (R13), DX
	ADDQ R12, R13
	ORQ  word_members(R10)(AX*8), DX
	MOVQ DX, const_entryMember(SI)
	MOVWLZX const_entryCaplen(SI), DX
	INCQ (word_count+count_frames)(R10)(AX*8)
	ADDQ DX, (word_count+count_bytes)(R10)(AX*8)
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
	MOVWLZX (const_portsAt+2)(BX)(DI*1), DX
	CMPL DX, $const_vxlanPort
	JE   done
	CMPL DX, $const_gtpuPort
	JE   done
	CMPL DX, $const_mplsPort
	JE   done
	JMP  hash

// Up to two tags: DI moves on by each, so that the places behind them are the same.
tag:
	CMPW const_typeAt(BX)(DI*1), $const_tagVLAN
	JE   tagged
	CMPW const_typeAt(BX)(DI*1), $const_tagQinQ
	JNE  untagged

tagged:
	CMPW const_entryCaplen(SI), $const_fast4Tagged
	JB   done
	ADDQ $const_tagBytes, DI
	MOVL const_typeAt(BX)(DI*1), AX
	SHLL $8, AX
	CMPL AX, $const_typeIPv4Up
	JE   ip4
	CMPW const_typeAt(BX)(DI*1), $const_tagVLAN
	JE   qinq
	CMPW const_typeAt(BX)(DI*1), $const_tagQinQ
	JNE  ip6tagged

qinq:
	CMPW const_entryCaplen(SI), $const_fast4QinQ
	JB   done
	ADDQ $const_tagBytes, DI
	MOVL const_typeAt(BX)(DI*1), AX
	SHLL $8, AX
	CMPL AX, $const_typeIPv4Up
	JE   ip4
	CMPW const_entryCaplen(SI), $(const_fast6+2*const_tagBytes)
	JB   done
	JMP  ip6

ip6tagged:
	CMPW const_entryCaplen(SI), $(const_fast6+const_tagBytes)
	JB   done
	JMP  ip6

untagged:
	CMPW const_entryCaplen(SI), $const_fast6
	JB   done

ip6:
	ANDL $const_maskIPv6Up, AX
	CMPL AX, $const_typeIPv6Up
	JNE  done
	CMPB const_nextAt(BX)(DI*1), $const_nextTCP
	JNE  udp6

hash6:
	MOVQ $const_keyOther, DX
	XORQ (const_src6At+8)(BX)(DI*1), DX
	MOVQ const_src6At(BX)(DI*1), AX
	XORQ R14, AX
	MULQ DX
	XORQ DX, AX
	MOVW const_ports6At(BX)(DI*1), AX // into the lower 16 bits
	MOVQ AX, R11
	MOVQ $const_keyOther, DX
	XORQ (const_dst6At+8)(BX)(DI*1), DX
	MOVQ const_dst6At(BX)(DI*1), AX
	XORQ R14, AX
	MULQ DX
	XORQ DX, AX
	MOVW (const_ports6At+2)(BX)(DI*1), AX
	JMP  fold

udp6:
	CMPB const_nextAt(BX)(DI*1), $const_nextUDP
	JNE  done
	CMPB tunnelsUDP+80(FP), $0
	JE   hash6
	MOVWLZX (const_ports6At+2)(BX)(DI*1), DX
	CMPL DX, $const_vxlanPort
	JE   done
	CMPL DX, $const_gtpuPort
	JE   done
	CMPL DX, $const_mplsPort
	JE   done
	JMP  hash6
