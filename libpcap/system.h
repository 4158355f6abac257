// The system's own libpcap, loaded beside this library.
#ifndef IXCAP_SYSTEM_H
#define IXCAP_SYSTEM_H

#include <netdb.h>
#include <pcap/pcap.h>
// namedb.h needs what pcap.h defines.
#include <pcap/namedb.h>
#include <stdio.h>

// SYSTEM_FUNCTIONS lists libpcap's functions: result, name, parameters.
#define SYSTEM_FUNCTIONS(F) \
	F(int, pcap_init, (unsigned int, char *)) \
	F(pcap_t *, pcap_create, (const char *, char *)) \
	F(int, pcap_set_snaplen, (pcap_t *, int)) \
	F(int, pcap_set_promisc, (pcap_t *, int)) \
	F(int, pcap_can_set_rfmon, (pcap_t *)) \
	F(int, pcap_set_rfmon, (pcap_t *, int)) \
	F(int, pcap_set_timeout, (pcap_t *, int)) \
	F(int, pcap_set_tstamp_type, (pcap_t *, int)) \
	F(int, pcap_set_immediate_mode, (pcap_t *, int)) \
	F(int, pcap_set_buffer_size, (pcap_t *, int)) \
	F(int, pcap_set_tstamp_precision, (pcap_t *, int)) \
	F(int, pcap_get_tstamp_precision, (pcap_t *)) \
	F(int, pcap_set_protocol_linux, (pcap_t *, int)) \
	F(int, pcap_activate, (pcap_t *)) \
	F(int, pcap_list_tstamp_types, (pcap_t *, int **)) \
	F(pcap_t *, pcap_open_live, (const char *, int, int, int, char *)) \
	F(pcap_t *, pcap_open_dead, (int, int)) \
	F(pcap_t *, pcap_open_dead_with_tstamp_precision, (int, int, u_int)) \
	F(void, pcap_close, (pcap_t *)) \
	F(int, pcap_loop, (pcap_t *, int, pcap_handler, u_char *)) \
	F(int, pcap_dispatch, (pcap_t *, int, pcap_handler, u_char *)) \
	F(const u_char *, pcap_next, (pcap_t *, struct pcap_pkthdr *)) \
	F(int, pcap_next_ex, (pcap_t *, struct pcap_pkthdr **, const u_char **)) \
	F(void, pcap_breakloop, (pcap_t *)) \
	F(int, pcap_stats, (pcap_t *, struct pcap_stat *)) \
	F(int, pcap_setfilter, (pcap_t *, struct bpf_program *)) \
	F(int, pcap_setdirection, (pcap_t *, pcap_direction_t)) \
	F(int, pcap_getnonblock, (pcap_t *, char *)) \
	F(int, pcap_setnonblock, (pcap_t *, int, char *)) \
	F(int, pcap_inject, (pcap_t *, const void *, size_t)) \
	F(int, pcap_sendpacket, (pcap_t *, const u_char *, int)) \
	F(char *, pcap_geterr, (pcap_t *)) \
	F(void, pcap_perror, (pcap_t *, const char *)) \
	F(int, pcap_compile, (pcap_t *, struct bpf_program *, const char *, int, bpf_u_int32)) \
	F(int, pcap_datalink, (pcap_t *)) \
	F(int, pcap_datalink_ext, (pcap_t *)) \
	F(int, pcap_list_datalinks, (pcap_t *, int **)) \
	F(int, pcap_set_datalink, (pcap_t *, int)) \
	F(int, pcap_snapshot, (pcap_t *)) \
	F(int, pcap_is_swapped, (pcap_t *)) \
	F(int, pcap_major_version, (pcap_t *)) \
	F(int, pcap_minor_version, (pcap_t *)) \
	F(int, pcap_bufsize, (pcap_t *)) \
	F(FILE *, pcap_file, (pcap_t *)) \
	F(int, pcap_fileno, (pcap_t *)) \
	F(pcap_dumper_t *, pcap_dump_open, (pcap_t *, const char *)) \
	F(pcap_dumper_t *, pcap_dump_fopen, (pcap_t *, FILE *)) \
	F(pcap_dumper_t *, pcap_dump_open_append, (pcap_t *, const char *)) \
	F(int, pcap_get_selectable_fd, (pcap_t *)) \
	F(const struct timeval *, pcap_get_required_select_timeout, (pcap_t *)) \
	F(int, pcap_findalldevs, (pcap_if_t **, char *)) \
	F(const char *, pcap_datalink_val_to_name, (int)) \
	F(const char *, pcap_lib_version, (void)) \
	F(u_int, bpf_filter, (const struct bpf_insn *, const u_char *, u_int, u_int)) \
	F(int, bpf_validate, (const struct bpf_insn *, int)) \
	F(void, bpf_dump, (const struct bpf_program *, int)) \
	F(char *, bpf_image, (const struct bpf_insn *, int)) \
	F(int, pcap_datalink_name_to_val, (const char *)) \
	F(const char *, pcap_datalink_val_to_description, (int)) \
	F(const char *, pcap_datalink_val_to_description_or_dlt, (int)) \
	F(void, pcap_dump, (u_char *, const struct pcap_pkthdr *, const u_char *)) \
	F(void, pcap_dump_close, (pcap_dumper_t *)) \
	F(FILE *, pcap_dump_file, (pcap_dumper_t *)) \
	F(int, pcap_dump_flush, (pcap_dumper_t *)) \
	F(long, pcap_dump_ftell, (pcap_dumper_t *)) \
	F(int64_t, pcap_dump_ftell64, (pcap_dumper_t *)) \
	F(u_char *, pcap_ether_aton, (const char *)) \
	F(u_char *, pcap_ether_hostton, (const char *)) \
	F(pcap_t *, pcap_fopen_offline, (FILE *, char *)) \
	F(pcap_t *, pcap_fopen_offline_with_tstamp_precision, (FILE *, u_int, char *)) \
	F(pcap_t *, pcap_open_offline, (const char *, char *)) \
	F(pcap_t *, pcap_open_offline_with_tstamp_precision, (const char *, u_int, char *)) \
	F(void, pcap_free_datalinks, (int *)) \
	F(void, pcap_free_tstamp_types, (int *)) \
	F(void, pcap_freealldevs, (pcap_if_t *)) \
	F(void, pcap_freecode, (struct bpf_program *)) \
	F(char *, pcap_lookupdev, (char *)) \
	F(int, pcap_lookupnet, (const char *, bpf_u_int32 *, bpf_u_int32 *, char *)) \
	F(bpf_u_int32 **, pcap_nametoaddr, (const char *)) \
	F(struct addrinfo *, pcap_nametoaddrinfo, (const char *)) \
	F(int, pcap_nametoeproto, (const char *)) \
	F(int, pcap_nametollc, (const char *)) \
	F(bpf_u_int32, pcap_nametonetaddr, (const char *)) \
	F(int, pcap_nametoport, (const char *, int *, int *)) \
	F(int, pcap_nametoportrange, (const char *, int *, int *, int *)) \
	F(int, pcap_nametoproto, (const char *)) \
	F(struct pcap_etherent *, pcap_next_etherent, (FILE *)) \
	F(int, pcap_offline_filter, (const struct bpf_program *, const struct pcap_pkthdr *, const u_char *)) \
	F(const char *, pcap_statustostr, (int)) \
	F(const char *, pcap_strerror, (int)) \
	F(int, pcap_tstamp_type_name_to_val, (const char *)) \
	F(const char *, pcap_tstamp_type_val_to_name, (int)) \
	F(const char *, pcap_tstamp_type_val_to_description, (int)) \
	F(int, pcap_compile_nopcap, (int, int, struct bpf_program *, const char *, int, bpf_u_int32))

// The system's functions; NULL is what its libpcap does not have.
struct system {
#define SYSTEM_FIELD(result, name, parameters) result (*name) parameters;
	SYSTEM_FUNCTIONS(SYSTEM_FIELD)
#undef SYSTEM_FIELD
};

extern struct system real;

// What the error of a function says that real does not have.
#define SYSTEM_MISSING "the system's libpcap was not found. Install it, or set IXCAP_LIBPCAP to its path."

#endif
