// The functions that know no handle of ours: each is the system's.
#include "system.h"

#include <string.h>

// EPROTO is how libpcap's functions for names say that they know none.
#define EPROTO_UNDEFINED 0xffff

#define FORWARD(result, name, parameters, arguments, failed) \
	result name parameters \
	{ \
		return real.name ? real.name arguments : failed; \
	}

#define FORWARD_VOID(name, parameters, arguments) \
	void name parameters \
	{ \
		if (real.name) \
			real.name arguments; \
	}

FORWARD_VOID(bpf_dump, (const struct bpf_program *a, int b), (a, b))
FORWARD(char *, bpf_image, (const struct bpf_insn *a, int b), (a, b), NULL)
FORWARD(int, pcap_datalink_name_to_val, (const char *a), (a), -1)
FORWARD(const char *, pcap_datalink_val_to_description, (int a), (a), NULL)
FORWARD(const char *, pcap_datalink_val_to_description_or_dlt, (int a), (a), NULL)
FORWARD_VOID(pcap_dump, (u_char *a, const struct pcap_pkthdr *b, const u_char *c), (a, b, c))
FORWARD_VOID(pcap_dump_close, (pcap_dumper_t *a), (a))
FORWARD(FILE *, pcap_dump_file, (pcap_dumper_t *a), (a), NULL)
FORWARD(int, pcap_dump_flush, (pcap_dumper_t *a), (a), -1)
FORWARD(long, pcap_dump_ftell, (pcap_dumper_t *a), (a), -1)
FORWARD(int64_t, pcap_dump_ftell64, (pcap_dumper_t *a), (a), -1)
FORWARD(u_char *, pcap_ether_aton, (const char *a), (a), NULL)
FORWARD(u_char *, pcap_ether_hostton, (const char *a), (a), NULL)
FORWARD_VOID(pcap_free_datalinks, (int *a), (a))
FORWARD_VOID(pcap_free_tstamp_types, (int *a), (a))
FORWARD_VOID(pcap_freealldevs, (pcap_if_t *a), (a))
FORWARD_VOID(pcap_freecode, (struct bpf_program *a), (a))
FORWARD(bpf_u_int32 **, pcap_nametoaddr, (const char *a), (a), NULL)
FORWARD(struct addrinfo *, pcap_nametoaddrinfo, (const char *a), (a), NULL)
FORWARD(int, pcap_nametoeproto, (const char *a), (a), EPROTO_UNDEFINED)
FORWARD(int, pcap_nametollc, (const char *a), (a), -1)
FORWARD(bpf_u_int32, pcap_nametonetaddr, (const char *a), (a), 0)
FORWARD(int, pcap_nametoport, (const char *a, int *b, int *c), (a, b, c), 0)
FORWARD(int, pcap_nametoportrange, (const char *a, int *b, int *c, int *d), (a, b, c, d), 0)
FORWARD(int, pcap_nametoproto, (const char *a), (a), -1)
FORWARD(struct pcap_etherent *, pcap_next_etherent, (FILE *a), (a), NULL)
FORWARD(int, pcap_offline_filter, (const struct bpf_program *a, const struct pcap_pkthdr *b, const u_char *c), (a, b, c), 0)
FORWARD(const char *, pcap_statustostr, (int a), (a), SYSTEM_MISSING)
FORWARD(const char *, pcap_strerror, (int a), (a), strerror(a))
FORWARD(int, pcap_tstamp_type_name_to_val, (const char *a), (a), -1)
FORWARD(const char *, pcap_tstamp_type_val_to_name, (int a), (a), NULL)
FORWARD(const char *, pcap_tstamp_type_val_to_description, (int a), (a), NULL)
FORWARD(int, pcap_compile_nopcap, (int a, int b, struct bpf_program *c, const char *d, int e, bpf_u_int32 f), (a, b, c, d, e, f), -1)
FORWARD(u_int, bpf_filter, (const struct bpf_insn *a, const u_char *b, u_int c, u_int d), (a, b, c, d), 0)
FORWARD(int, bpf_validate, (const struct bpf_insn *a, int b), (a, b), 0)
FORWARD(const char *, pcap_datalink_val_to_name, (int a), (a), NULL)
FORWARD(pcap_t *, pcap_open_dead, (int a, int b), (a, b), NULL)
FORWARD(pcap_t *, pcap_open_dead_with_tstamp_precision, (int a, int b, u_int c), (a, b, c), NULL)

// FORWARD_ERROR is for functions that have room for an error at their end.
#define FORWARD_ERROR(result, name, parameters, arguments, failed, error) \
	result name parameters \
	{ \
		if (real.name) \
			return real.name arguments; \
		snprintf(error, PCAP_ERRBUF_SIZE, "%s", SYSTEM_MISSING); \
		return failed; \
	}

FORWARD_ERROR(int, pcap_init, (unsigned int a, char *e), (a, e), -1, e)
FORWARD_ERROR(char *, pcap_lookupdev, (char *e), (e), NULL, e)
FORWARD_ERROR(pcap_t *, pcap_open_offline, (const char *a, char *e), (a, e), NULL, e)
FORWARD_ERROR(pcap_t *, pcap_open_offline_with_tstamp_precision, (const char *a, u_int b, char *e), (a, b, e), NULL, e)
FORWARD_ERROR(pcap_t *, pcap_fopen_offline, (FILE *a, char *e), (a, e), NULL, e)
FORWARD_ERROR(pcap_t *, pcap_fopen_offline_with_tstamp_precision, (FILE *a, u_int b, char *e), (a, b, e), NULL, e)
