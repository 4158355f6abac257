// A matcher of filters: the classic BPF programs that libpcap compiles, decoded once.
#ifndef IXCAP_MATCHER_H
#define IXCAP_MATCHER_H

#include <pcap/pcap.h>
#include <stdbool.h>
#include <stdint.h>

// A step is an instruction, or a load with the comparison behind it.
struct step {
	uint32_t op, k, value;         // value: what a load is compared with
	const struct step *yes, *no;   // the next ones
};

// matcher_new decodes a program that bpf_validate accepts. NULL: it has an instruction that
// the matcher does not know, or there is no memory; bpf_filter runs it.
struct step *matcher_new(const struct bpf_program *program);

// matcher_run is bpf_filter.
bool matcher_run(const struct step *first, const u_char *packet, uint32_t wire_bytes, uint32_t bytes);

#endif
