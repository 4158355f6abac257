// What configuration (pcap.conf(5)) and pcap_fanout make of a handle.
#ifndef IXCAP_CONFIGURE_H
#define IXCAP_CONFIGURE_H

#include "config.h"
#include "handle.h"
#include "stream.h"

// configure resolves the settings of a handle of ours, before it attaches. 0, or
// PCAP_ERROR with the handle's error.
int configure(pcap_t *p);

// configure_request fills in what the handle asks for at a socket of settings->devices[device];
// text has STREAM_TEXT bytes and must live as long as o. 0, or PCAP_ERROR with the handle's error.
int configure_request(pcap_t *p, unsigned device, struct stream_options *o, char *text);

// configure_device sets channels and affinities. It returns 0, or PCAP_WARNING when the
// handle's error has what was not set or does not mean what it says.
int configure_device(pcap_t *p);

// configure_fanout keeps what pcap_fanout asks for until the handle attaches. 0 or PCAP_ERROR.
int configure_fanout(pcap_t *p, int group, const char *fanout);

// Handles of the system's libpcap: the same settings apply to its packet sockets. Without
// settings nothing is changed, and all errors are the system's.
pcap_t *system_create(const char *device, char *error);
int system_set_snaplen(pcap_t *p, int snaplen);
int system_activate(pcap_t *p);
pcap_t *system_open_live(const char *device, int snaplen, int promisc, int timeout, char *error);
int system_fanout(pcap_t *p, int group, const char *fanout);
void system_close(pcap_t *p);

#endif
