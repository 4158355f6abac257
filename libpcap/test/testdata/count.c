// count reads packets of a device with pcap_dispatch and prints what that costs:
//
//	count DEVICE FIRST PACKETS
//
// It prints "ready" once it is attached, "warm" after FIRST packets, and at the end, after
// PACKETS more or when none has come for two seconds, how many these were, how many were
// lost, and the CPU time in ns of this process for them, system calls included.
#define _GNU_SOURCE
#include <pcap/pcap.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t packets, bytes;

static void on_packet(u_char *user, const struct pcap_pkthdr *h, const u_char *data)
{
	(void)user;
	(void)data;
	packets++;
	bytes += h->len;
}

static uint64_t now(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

// count_until dispatches until there are so many packets, or none come for two seconds.
static void count_until(pcap_t *p, uint64_t most)
{
	uint64_t last = 0;
	while (packets < most) {
		uint64_t before = packets;
		if (pcap_dispatch(p, -1, on_packet, NULL) < 0)
			return;
		if (packets > before)
			last = now(CLOCK_MONOTONIC);
		else if (last && now(CLOCK_MONOTONIC) - last > 2000000000)
			return;
	}
}

int main(int argc, char **argv)
{
	char error[PCAP_ERRBUF_SIZE];
	if (argc != 4)
		return 2;
	pcap_t *p = pcap_create(argv[1], error);
	if (!p || pcap_set_snaplen(p, 96) || pcap_set_timeout(p, 100) || pcap_set_buffer_size(p, 64 << 20) || pcap_activate(p) < 0) {
		fprintf(stderr, "%s: %s\n", argv[1], p ? pcap_geterr(p) : error);
		return 1;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("ready\n");
	uint64_t first = strtoull(argv[2], NULL, 10);
	count_until(p, first);
	printf("warm\n");
	uint64_t before = packets, begin = now(CLOCK_PROCESS_CPUTIME_ID);
	count_until(p, first + strtoull(argv[3], NULL, 10));
	uint64_t cost = now(CLOCK_PROCESS_CPUTIME_ID) - begin;
	struct pcap_stat s = {0};
	pcap_stats(p, &s);
	printf("%llu %u %llu\n", (unsigned long long)(packets - before), s.ps_drop, (unsigned long long)cost);
	pcap_close(p);
	return 0;
}
