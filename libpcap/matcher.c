#include "matcher.h"

#include <stdlib.h>

// The operations. LOAD_x_IS is a load from a fixed offset and the JEQ behind it.
#define OPS(F) \
	F(LOAD_W) F(LOAD_H) F(LOAD_B) F(LOAD_W_IS) F(LOAD_H_IS) F(LOAD_B_IS) F(LOAD_W_AT_X) F(LOAD_H_AT_X) F(LOAD_B_AT_X) F(LOAD_LEN) F(LOAD_K) F(LOAD_M) \
	F(LOADX_HEADER) F(LOADX_LEN) F(LOADX_K) F(LOADX_M) F(STORE) F(STOREX) \
	F(ADD_K) F(SUB_K) F(MUL_K) F(DIV_K) F(MOD_K) F(AND_K) F(OR_K) F(XOR_K) F(LSH_K) F(RSH_K) \
	F(ADD_X) F(SUB_X) F(MUL_X) F(DIV_X) F(MOD_X) F(AND_X) F(OR_X) F(XOR_X) F(LSH_X) F(RSH_X) F(NEG) \
	F(JUMP) F(EQ_K) F(GT_K) F(GE_K) F(SET_K) F(EQ_X) F(GT_X) F(GE_X) F(SET_X) F(RETURN_K) F(RETURN_A) F(TO_X) F(TO_A)

#define NAME(op) op,
enum { OPS(NAME) UNKNOWN };
#undef NAME

static uint32_t load_op(uint16_t code)
{
	switch (code) {
	case BPF_LD | BPF_W | BPF_ABS: return LOAD_W;
	case BPF_LD | BPF_H | BPF_ABS: return LOAD_H;
	case BPF_LD | BPF_B | BPF_ABS: return LOAD_B;
	case BPF_LD | BPF_W | BPF_IND: return LOAD_W_AT_X;
	case BPF_LD | BPF_H | BPF_IND: return LOAD_H_AT_X;
	case BPF_LD | BPF_B | BPF_IND: return LOAD_B_AT_X;
	case BPF_LD | BPF_W | BPF_LEN: return LOAD_LEN;
	case BPF_LD | BPF_IMM: return LOAD_K;
	case BPF_LD | BPF_MEM: return LOAD_M;
	case BPF_LDX | BPF_B | BPF_MSH: return LOADX_HEADER;
	case BPF_LDX | BPF_W | BPF_LEN: return LOADX_LEN;
	case BPF_LDX | BPF_IMM: return LOADX_K;
	case BPF_LDX | BPF_MEM: return LOADX_M;
	case BPF_ST: return STORE;
	case BPF_STX: return STOREX;
	case BPF_MISC | BPF_TAX: return TO_X;
	case BPF_MISC | BPF_TXA: return TO_A;
	case BPF_RET | BPF_K: return RETURN_K;
	case BPF_RET | BPF_A: return RETURN_A;
	}
	return UNKNOWN;
}

static uint32_t alu_op(uint16_t code)
{
	uint32_t x = BPF_SRC(code) == BPF_X ? ADD_X - ADD_K : 0;
	switch (BPF_OP(code)) {
	case BPF_ADD: return ADD_K + x;
	case BPF_SUB: return SUB_K + x;
	case BPF_MUL: return MUL_K + x;
	case BPF_DIV: return DIV_K + x;
	case BPF_MOD: return MOD_K + x;
	case BPF_AND: return AND_K + x;
	case BPF_OR: return OR_K + x;
	case BPF_XOR: return XOR_K + x;
	case BPF_LSH: return LSH_K + x;
	case BPF_RSH: return RSH_K + x;
	}
	return code == (BPF_ALU | BPF_NEG) ? NEG : UNKNOWN;
}

static uint32_t jump_op(uint16_t code)
{
	uint32_t x = BPF_SRC(code) == BPF_X ? EQ_X - EQ_K : 0;
	switch (BPF_OP(code)) {
	case BPF_JEQ: return EQ_K + x;
	case BPF_JGT: return GT_K + x;
	case BPF_JGE: return GE_K + x;
	case BPF_JSET: return SET_K + x;
	}
	return code == (BPF_JMP | BPF_JA) ? JUMP : UNKNOWN;
}

static uint32_t op_of(uint16_t code) { return BPF_CLASS(code) == BPF_ALU ? alu_op(code) : BPF_CLASS(code) == BPF_JMP ? jump_op(code) : load_op(code); }

// decode fills in step i. It returns false if the matcher cannot run it.
static bool decode(struct step *steps, const struct bpf_program *p, u_int i)
{
	const struct bpf_insn *in = &p->bf_insns[i];
	struct step *s = &steps[i];
	uint64_t yes = i + 1, no = i + 1;
	*s = (struct step){.op = op_of(in->code), .k = in->k};
	if (s->op == JUMP)
		yes = no = (uint64_t)i + 1 + in->k;
	else if (s->op >= EQ_K && s->op <= SET_X) {
		yes += in->jt;
		no += in->jf;
	}
	bool memory = s->op == LOAD_M || s->op == LOADX_M || s->op == STORE || s->op == STOREX, last = s->op == RETURN_K || s->op == RETURN_A;
	if (s->op == UNKNOWN || (!last && (yes >= p->bf_len || no >= p->bf_len)) || (memory && in->k >= BPF_MEMWORDS))
		return false;
	if (!last) {
		s->yes = steps + yes;
		s->no = steps + no;
	}
	return true;
}

struct step *matcher_new(const struct bpf_program *p)
{
	struct step *steps = calloc(p->bf_len, sizeof *steps);
	for (u_int i = 0; steps && i < p->bf_len; i++)
		if (!decode(steps, p, i)) {
			free(steps);
			return NULL;
		}
	for (u_int i = 0; steps && i + 1 < p->bf_len; i++)
		if (steps[i].op <= LOAD_B && steps[i + 1].op == EQ_K) {
			steps[i].op += LOAD_W_IS - LOAD_W;
			steps[i].value = steps[i + 1].k;
			steps[i].yes = steps[i + 1].yes;
			steps[i].no = steps[i + 1].no;
		}
	return steps;
}

static inline uint32_t word_at(const u_char *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

static inline uint32_t half_at(const u_char *p) { return (uint32_t)p[0] << 8 | p[1]; }

// within reports whether size bytes lie at offset k + x.
static inline bool within(uint32_t k, uint32_t x, uint32_t size, uint32_t bytes) { return (uint64_t)k + x + size <= bytes; }

bool matcher_run(const struct step *s, const u_char *p, uint32_t wire_bytes, uint32_t n)
{
#define LABEL(op) [op] = &&at_##op,
	static const void *const labels[] = {OPS(LABEL)};
#undef LABEL
	uint32_t a = 0, x = 0, m[BPF_MEMWORDS] = {0};
#define GO(next) do { s = (next); goto *labels[s->op]; } while (0)
#define DO(op, statement) at_##op: statement; GO(s->yes);
#define LOAD(op, size, offset, loaded) at_##op: if (!within(s->k, offset, size, n)) return false; a = loaded; GO(s->yes);
#define LOAD_IS(op, size, loaded) at_##op: if (!within(s->k, 0, size, n)) return false; a = loaded; GO(a == s->value ? s->yes : s->no);
#define TEST(op, condition) at_##op: GO((condition) ? s->yes : s->no);
	GO(s);
	LOAD_IS(LOAD_W_IS, 4, word_at(p + s->k))
	LOAD_IS(LOAD_H_IS, 2, half_at(p + s->k))
	LOAD_IS(LOAD_B_IS, 1, p[s->k])
	LOAD(LOAD_W, 4, 0, word_at(p + s->k))
	LOAD(LOAD_H, 2, 0, half_at(p + s->k))
	LOAD(LOAD_B, 1, 0, p[s->k])
	LOAD(LOAD_W_AT_X, 4, x, word_at(p + s->k + x))
	LOAD(LOAD_H_AT_X, 2, x, half_at(p + s->k + x))
	LOAD(LOAD_B_AT_X, 1, x, p[s->k + x])
	DO(LOAD_LEN, a = wire_bytes)
	DO(LOAD_K, a = s->k)
	DO(LOAD_M, a = m[s->k])
at_LOADX_HEADER:
	if (!within(s->k, 0, 1, n))
		return false;
	x = (p[s->k] & 15u) << 2;
	GO(s->yes);
	DO(LOADX_LEN, x = wire_bytes)
	DO(LOADX_K, x = s->k)
	DO(LOADX_M, x = m[s->k])
	DO(STORE, m[s->k] = a)
	DO(STOREX, m[s->k] = x)
	DO(ADD_K, a += s->k)
	DO(SUB_K, a -= s->k)
	DO(MUL_K, a *= s->k)
	DO(AND_K, a &= s->k)
	DO(OR_K, a |= s->k)
	DO(XOR_K, a ^= s->k)
	DO(LSH_K, a = s->k < 32 ? a << s->k : 0)
	DO(RSH_K, a = s->k < 32 ? a >> s->k : 0)
	DO(ADD_X, a += x)
	DO(SUB_X, a -= x)
	DO(MUL_X, a *= x)
	DO(AND_X, a &= x)
	DO(OR_X, a |= x)
	DO(XOR_X, a ^= x)
	DO(LSH_X, a = x < 32 ? a << x : 0)
	DO(RSH_X, a = x < 32 ? a >> x : 0)
	DO(NEG, a = 0 - a)
#define DIVIDE(op, by, result) at_##op: if ((by) == 0) return false; a = result; GO(s->yes);
	DIVIDE(DIV_K, s->k, a / s->k)
	DIVIDE(MOD_K, s->k, a % s->k)
	DIVIDE(DIV_X, x, a / x)
	DIVIDE(MOD_X, x, a % x)
	TEST(JUMP, true)
	TEST(EQ_K, a == s->k)
	TEST(GT_K, a > s->k)
	TEST(GE_K, a >= s->k)
	TEST(SET_K, a & s->k)
	TEST(EQ_X, a == x)
	TEST(GT_X, a > x)
	TEST(GE_X, a >= x)
	TEST(SET_X, a & x)
	DO(TO_X, x = a)
	DO(TO_A, a = x)
at_RETURN_K:
	return s->k != 0;
at_RETURN_A:
	return a != 0;
}
