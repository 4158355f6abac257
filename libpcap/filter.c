#include "filter.h"

#include "system.h"

// known reports whether bpf_filter has the instruction (pcap/bpf.h).
static bool known(u_short code)
{
	switch (code) {
	case BPF_RET | BPF_K: case BPF_RET | BPF_A:
	case BPF_LD | BPF_W | BPF_ABS: case BPF_LD | BPF_H | BPF_ABS: case BPF_LD | BPF_B | BPF_ABS:
	case BPF_LD | BPF_W | BPF_IND: case BPF_LD | BPF_H | BPF_IND: case BPF_LD | BPF_B | BPF_IND:
	case BPF_LD | BPF_W | BPF_LEN: case BPF_LD | BPF_IMM: case BPF_LD | BPF_MEM:
	case BPF_LDX | BPF_W | BPF_LEN: case BPF_LDX | BPF_IMM: case BPF_LDX | BPF_MEM: case BPF_LDX | BPF_B | BPF_MSH:
	case BPF_ST: case BPF_STX:
	case BPF_JMP | BPF_JA:
	case BPF_JMP | BPF_JEQ | BPF_K: case BPF_JMP | BPF_JGT | BPF_K: case BPF_JMP | BPF_JGE | BPF_K: case BPF_JMP | BPF_JSET | BPF_K:
	case BPF_JMP | BPF_JEQ | BPF_X: case BPF_JMP | BPF_JGT | BPF_X: case BPF_JMP | BPF_JGE | BPF_X: case BPF_JMP | BPF_JSET | BPF_X:
	case BPF_ALU | BPF_ADD | BPF_K: case BPF_ALU | BPF_SUB | BPF_K: case BPF_ALU | BPF_MUL | BPF_K: case BPF_ALU | BPF_DIV | BPF_K:
	case BPF_ALU | BPF_OR | BPF_K: case BPF_ALU | BPF_AND | BPF_K: case BPF_ALU | BPF_LSH | BPF_K: case BPF_ALU | BPF_RSH | BPF_K:
	case BPF_ALU | BPF_MOD | BPF_K: case BPF_ALU | BPF_XOR | BPF_K:
	case BPF_ALU | BPF_ADD | BPF_X: case BPF_ALU | BPF_SUB | BPF_X: case BPF_ALU | BPF_MUL | BPF_X: case BPF_ALU | BPF_DIV | BPF_X:
	case BPF_ALU | BPF_OR | BPF_X: case BPF_ALU | BPF_AND | BPF_X: case BPF_ALU | BPF_LSH | BPF_X: case BPF_ALU | BPF_RSH | BPF_X:
	case BPF_ALU | BPF_MOD | BPF_X: case BPF_ALU | BPF_XOR | BPF_X:
	case BPF_ALU | BPF_NEG:
	case BPF_MISC | BPF_TAX: case BPF_MISC | BPF_TXA:
		return true;
	default:
		return false;
	}
}

bool filter_valid(const struct bpf_program *program)
{
	if (!program->bf_insns || !real.bpf_validate(program->bf_insns, (int)program->bf_len))
		return false;
	for (u_int i = 0; i < program->bf_len; i++)
		if (!known(program->bf_insns[i].code))
			return false;
	return true;
}
