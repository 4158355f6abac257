// native calls what <pcap/fanout.h> adds to libpcap, as a program that is written for it.
#ifndef __cplusplus
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <pcap/fanout.h>

int main(void)
{
	char error[PCAP_ERRBUF_SIZE] = "";
	struct pcap_channels channels;
	cpu_set_t cpus;
	int got = pcap_get_channels("lo", &channels, error);
	printf("%d %s\n", got, error);
	got = pcap_set_channels("lo", &channels, 0, error);
	printf("%d %s\n", got, error);
	got = pcap_channel_getaffinity("lo", 0, &cpus);
	printf("%d %s\n", got, strerror(errno));
	CPU_ZERO(&cpus);
	got = pcap_channel_setaffinity("lo", 0, &cpus);
	printf("%d %s\n", got, strerror(errno));
	pcap_t *p = pcap_create("ixcap:none", error);
	printf("%d", pcap_fanout(p, 7, "hash, tunnels=gre"));
	printf(" %d", pcap_fanout(p, 7, "fast"));
	printf(" %s\n", pcap_geterr(p));
	pcap_close(p);
	return 0;
}
