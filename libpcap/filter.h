// Checks of filter programs.
#ifndef IXCAP_FILTER_H
#define IXCAP_FILTER_H

#include <pcap/pcap.h>
#include <stdbool.h>

// filter_valid reports whether bpf_filter runs the program. bpf_validate does not look at
// every bit of an instruction, and bpf_filter ends the process at one that it does not know.
bool filter_valid(const struct bpf_program *program);

#endif
