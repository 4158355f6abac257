// matcher compares matcher.c with bpf_filter: "matcher random SEED PROGRAMS" on random
// programs and packets, "matcher bench EXPRESSION ..." by the time of both.
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../matcher.h"

static uint64_t seed;

static uint32_t number(uint32_t below)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(seed >> 33) % below;
}

static const uint16_t codes[] = {
	BPF_LD | BPF_W | BPF_ABS, BPF_LD | BPF_H | BPF_ABS, BPF_LD | BPF_B | BPF_ABS, BPF_LD | BPF_W | BPF_IND, BPF_LD | BPF_H | BPF_IND, BPF_LD | BPF_B | BPF_IND,
	BPF_LD | BPF_W | BPF_LEN, BPF_LD | BPF_IMM, BPF_LD | BPF_MEM, BPF_LDX | BPF_B | BPF_MSH, BPF_LDX | BPF_W | BPF_LEN, BPF_LDX | BPF_IMM, BPF_LDX | BPF_MEM,
	BPF_ST, BPF_STX, BPF_MISC | BPF_TAX, BPF_MISC | BPF_TXA, BPF_ALU | BPF_NEG, BPF_RET | BPF_K, BPF_RET | BPF_A, BPF_JMP | BPF_JA,
};

static struct bpf_insn instruction(uint32_t left)
{
	static const uint32_t constants[] = {0, 1, 2, 6, 12, 14, 23, 31, 32, 33, 60, 0x800, 0xffff, 0x7fffffff, 0x80000000, 0xfffff000, 0xffffffff};
	struct bpf_insn in = {.k = number(2) ? constants[number(sizeof constants / sizeof *constants)] : number(70)};
	switch (number(4)) {
	case 0:
		in.code = (uint16_t)(BPF_ALU | number(11) << 4 | number(2) << 3);
		if (in.code == (BPF_ALU | BPF_NEG | BPF_X))  // valid, and bpf_filter aborts
			in.code = BPF_ALU | BPF_NEG;
		break;
	case 1:
		in.code = (uint16_t)(BPF_JMP | (1 + number(4)) << 4 | number(2) << 3);
		break;
	default:
		in.code = codes[number(sizeof codes / sizeof *codes)];
	}
	if (in.code == BPF_ST || in.code == BPF_STX || BPF_MODE(in.code) == BPF_MEM)
		in.k %= BPF_MEMWORDS;
	if (in.code == (BPF_JMP | BPF_JA))
		in.k = number(left);
	in.jt = (u_char)number(left < 5 ? left : 5);
	in.jf = (u_char)number(left < 5 ? left : 5);
	return in;
}

// compare runs a random program over random packets. It returns how many packets there were.
static int compare(void)
{
	struct bpf_insn code[40];
	struct bpf_program p = {2 + number(38), code};
	for (u_int i = 0; i + 1 < p.bf_len; i++)
		code[i] = i < BPF_MEMWORDS && p.bf_len > 24 ? (struct bpf_insn){BPF_ST, 0, 0, i} : instruction(p.bf_len - 1 - i);
	code[p.bf_len - 1] = (struct bpf_insn){(u_short)(BPF_RET | (number(2) ? BPF_A : BPF_K)), 0, 0, number(2)};
	if (p.bf_len <= 24)  // memory that was not written is not defined
		for (u_int i = 0; i + 1 < p.bf_len; i++)
			if ((code[i].code & 0xe7) == (BPF_LD | BPF_MEM) || (code[i].code & 0xe7) == (BPF_LDX | BPF_MEM))
				code[i].code = (u_short)(BPF_LD | BPF_IMM);
	if (!bpf_validate(code, (int)p.bf_len))
		return 0;
	struct step *m = matcher_new(&p);
	if (!m) {
		printf("the matcher does not know a valid program\n");
		exit(1);
	}
	for (int n = 0; n < 20; n++) {
		uint32_t bytes = number(64);
		u_char *packet = malloc(bytes + 1);  // of its size, for the sanitizer
		for (uint32_t i = 0; i < bytes; i++)
			packet[i] = (u_char)(number(3) ? number(256) : 0);
		if (matcher_run(m, packet, bytes + 4, bytes) != (bpf_filter(code, packet, bytes + 4, bytes) != 0)) {
			printf("%u instructions, packet of %u bytes: different\n", p.bf_len, bytes);
			bpf_dump(&p, 1);
			exit(1);
		}
		free(packet);
	}
	free(m);
	return 20;
}

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

enum { PACKETS = 512, BYTES = 80, TIMES = 2000 };

// bench prints the least ns per packet of bpf_filter and of the matcher.
static void bench(pcap_t *dead, const char *expression)
{
	static u_char packets[PACKETS][BYTES];
	struct bpf_program p;
	unsigned found[2] = {0};
	uint64_t ns[2] = {UINT64_MAX, UINT64_MAX};
	for (int i = 0; i < PACKETS; i++) {
		u_char *d = packets[i];
		d[12] = number(8) ? 0x08 : 0x86;
		d[13] = d[12] == 8 ? 0 : 0xdd;
		d[14] = 0x45;
		d[23] = number(2) ? 6 : 17;
		for (int k = 26; k < 34; k++)
			d[k] = (u_char)number(4);
		d[35] = (u_char)number(100);
		d[37] = (u_char)number(100);
	}
	if (pcap_compile(dead, &p, expression, 1, PCAP_NETMASK_UNKNOWN))
		exit(2);
	struct step *m = matcher_new(&p);
	for (int n = 0; n < TIMES; n++)
		for (int which = 0; which < 2; which++) {
			uint64_t begin = now();
			for (int i = 0; i < PACKETS; i++)
				found[which] += which ? matcher_run(m, packets[i], BYTES, BYTES) : bpf_filter(p.bf_insns, packets[i], BYTES, BYTES) != 0;
			uint64_t took = now() - begin;
			ns[which] = took < ns[which] ? took : ns[which];
		}
	printf("%.2f %.2f %s\n", (double)ns[0] / PACKETS, (double)ns[1] / PACKETS, expression);
	if (found[0] != found[1])
		exit(1);
	free(m);
	pcap_freecode(&p);
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "random") == 0) {
		seed = strtoull(argv[2], NULL, 10);
		long packets = 0;
		for (long i = atol(argv[3]); i > 0; i--)
			packets += compare();
		printf("%ld\n", packets);
		return 0;
	}
	pcap_t *dead = pcap_open_dead(DLT_EN10MB, 65535);
	for (int i = 2; i < argc; i++)
		bench(dead, argv[i]);
	pcap_close(dead);
	return 0;
}
