// Texts of fan-out modes, as in pcap_fanout, PCAP_FANOUT and pcap.conf(5).
#ifndef IXCAP_FANOUT_H
#define IXCAP_FANOUT_H

#include <stddef.h>

#include "include/pcap/fanout.h"

struct ixcap_fanout;

#define IXCAP_GROUP_MAX 65535

// Parse MODE[+defrag][+rollover][, option=value]..., or a PFQ program (a text with "main").
// Only what the text names is changed. -1: errbuf has the reason. Names of other engines are
// mapped; what they would have done beside is added to warning.
int ixcap_fanout_parse(const char *text, struct ixcap_fanout *fanout, char *warning, char *errbuf);

// Set one option (weight, tunnels, threshold, departed, member). -1: errbuf has the reason.
int ixcap_fanout_option(struct ixcap_fanout *fanout, const char *key, const char *value, char *errbuf);

// Write the lines of a request (docs/STREAM.md). The length, or -1 with errbuf.
int ixcap_fanout_request(const struct ixcap_fanout *fanout, int group, char *text, size_t size, char *errbuf);

// Let a packet socket of the system join the group (PACKET_FANOUT). 0, or -1 with errbuf.
int ixcap_fanout_packet(int fd, int group, const struct ixcap_fanout *fanout, char *errbuf);

// Parse a whole decimal number of low to high. 0, or -1.
int ixcap_number(const char *text, long low, long high, long *number);

// Parse and write lists of CPUs such as 0-3,5.
int ixcap_cpus_parse(const char *text, cpu_set_t *cpus);
int ixcap_cpus_print(const cpu_set_t *cpus, char *text, size_t size);

// Add a sentence to a warning of PCAP_ERRBUF_SIZE bytes.
void ixcap_warn(char *warning, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
