#include "go_asm.h"
#include "textflag.h"

// reach is the last byte of a frame that is read of most: the end of TCP's header over IPv4.
#define reach 53

// func prefetchData(packets []stream.Packet)
TEXT ·prefetchData(SB), NOSPLIT, $0-24
	MOVQ packets_base+0(FP), SI
	MOVQ packets_len+8(FP), CX

data:
	DECQ CX
	JLT  done
	MOVQ const_inputData(SI), AX
	PREFETCHT0 (AX)
	PREFETCHT0 reach(AX)
	ADDQ $const_inputBytes, SI
	JMP  data

done:
	RET

// func prefetchBucket(b *bucket)
TEXT ·prefetchBucket(SB), NOSPLIT, $0-8
	MOVQ b+0(FP), AX
	PREFETCHT0 (AX)
	RET

// func prefetchEntry(f *entry)
TEXT ·prefetchEntry(SB), NOSPLIT, $0-8
	MOVQ f+0(FP), AX
	PREFETCHT0 (AX)
	PREFETCHT0 64(AX)
	PREFETCHT0 128(AX)
	PREFETCHT0 192(AX)
	PREFETCHT0 256(AX)
	PREFETCHT0 320(AX)
	PREFETCHT0 384(AX)
	RET

// func prefetchLines(packets []packet, buckets *bucket, mask uint64)
TEXT ·prefetchLines(SB), NOSPLIT, $0-40
	MOVQ packets_base+0(FP), SI
	MOVQ packets_len+8(FP), CX
	MOVQ buckets+24(FP), DI
	MOVQ mask+32(FP), DX

lines:
	DECQ CX
	JLT  out
	MOVQ packet_hash(SI), AX
	ANDQ DX, AX
	SHLQ $6, AX
	PREFETCHT0 (DI)(AX*1)
	ADDQ $packet__size, SI
	JMP  lines

out:
	RET

// func locateAVX2(packets []packet, buckets *bucket, mask uint64, entries *entry, shorts *short)
//
// SI packet, CX packets left, R9 buckets, DX mask, DI entries, R8 short entries, AX bucket,
// then ref, BX tag, then direction. Y0 compares the tags of a bucket, and passed behind them.
TEXT ·locateAVX2(SB), NOSPLIT, $0-56
	MOVQ packets_base+0(FP), SI
	MOVQ packets_len+8(FP), CX
	MOVQ buckets+24(FP), R9
	MOVQ mask+32(FP), DX
	MOVQ entries+40(FP), DI
	MOVQ shorts+48(FP), R8

flows:
	DECQ CX
	JLT  end
	MOVQ packet_hash(SI), AX
	MOVQ AX, BX
	ANDQ DX, AX
	SHLQ $6, AX
	ADDQ R9, AX
	SHRQ $32, BX
	VMOVD BX, X0
	VPBROADCASTD X0, Y0
	VPCMPEQD bucket_tags(AX), Y0, Y0
	VMOVMSKPS Y0, R10
	ANDL $((1<<const_perBucket)-1), R10
	JZ   none
	BSFL R10, R10
	MOVL bucket_refs(AX)(R10*4), AX
	MOVL AX, packet_ref(SI)
	TESTL AX, AX
	JZ   next
	JS   compact
	MOVL AX, BX
	SHRL $30, BX // atB
	ANDL $const_refNumber, AX
	IMULQ $const_entryBytes, AX
	ADDQ DI, AX
	PREFETCHT0 (AX)
	MOVBLZX packet_swapped(SI), R10
	XORL R10, BX
	SHLQ $7, BX // sideBytes
	PREFETCHT0 const_sidesAt(AX)(BX*1)
	CMPB packet_isTCP(SI), $0
	JE   next
	PREFETCHT0 (const_sidesAt+64)(AX)(BX*1)
	JMP  next

none:
	MOVL $0, packet_ref(SI)
	JMP  next

compact:
	ANDL $const_refNumber, AX
	IMULQ $const_shortBytes, AX
	PREFETCHT0 (R8)(AX*1)
	PREFETCHT0 64(R8)(AX*1)

next:
	ADDQ $packet__size, SI
	JMP  flows

end:
	VZEROUPPER
	RET

// func prefetchLeads(packets []packet, entries *entry)
//
// SI packet, CX packets left, DI entries, AX ref, then entry, BX the flow's packets so far.
TEXT ·prefetchLeads(SB), NOSPLIT, $0-32
	MOVQ packets_base+0(FP), SI
	MOVQ packets_len+8(FP), CX
	MOVQ entries+24(FP), DI

leads:
	DECQ CX
	JLT  over
	MOVL packet_ref(SI), AX
	TESTL AX, AX
	JLE  ahead // none, or short
	ANDL $const_refNumber, AX
	IMULQ $const_entryBytes, AX
	ADDQ DI, AX
	MOVBLZX const_firstAt(AX), BX
	ANDL $0xf, BX
	CMPL BX, $const_Firsts
	JGE  ahead
	PREFETCHT0 const_sizesAt(AX)
	CMPL BX, $const_inLine
	JLE  ahead
	PREFETCHT0 (const_sizesAt+64)(AX)

ahead:
	ADDQ $packet__size, SI
	JMP  leads

over:
	RET
