/*
 * Fan-out, channels and interrupt affinity: what this library adds to libpcap's interface.
 * Bonelli et al., "Packet Fan-Out Extension for the pcap Library", sections VI and VII.
 */
#ifndef PCAP_FANOUT_H
#define PCAP_FANOUT_H

#include <sched.h> /* cpu_set_t, with _GNU_SOURCE */

#include <pcap/pcap.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PCAP_VERSION_FANOUT 1

/*
 * Make the handle a member of a group, 0 to 65535, whose frames are divided as fanout says:
 * MODE[, OPTION=VALUE...], pcap.conf(5). 0, or -1 with pcap_geterr.
 */
int pcap_fanout(pcap_t *p, int group, const char *fanout);

/* Channels of a device (struct ethtool_channels of linux/ethtool.h): most and present numbers. */
struct pcap_channels {
	unsigned int max_rx;
	unsigned int max_tx;
	unsigned int max_other;
	unsigned int max_combined;
	unsigned int rx_count;
	unsigned int tx_count;
	unsigned int other_count;
	unsigned int combined_count;
};

#define PCAP_RX_CHANNELS       1
#define PCAP_TX_CHANNELS       2
#define PCAP_COMBINED_CHANNELS 4
#define PCAP_OTHER_CHANNELS    8
#define PCAP_ALL_CHANNELS      (PCAP_RX_CHANNELS | PCAP_TX_CHANNELS | PCAP_COMBINED_CHANNELS | PCAP_OTHER_CHANNELS)

/* Set the numbers that channel_mask names. 1: they are set; -1: errbuf has the reason. */
int pcap_set_channels(const char *dev, const struct pcap_channels *ch, int channel_mask, char *errbuf);

/* Get all numbers. 1: info is filled in; -1: errbuf has the reason. */
int pcap_get_channels(const char *dev, struct pcap_channels *info, char *errbuf);

#ifdef CPU_SETSIZE
/* Set or get the CPUs that serve the interrupt of a receive channel. 1: done; -1: errno has the reason. */
int pcap_channel_setaffinity(const char *dev, int channel_number, const cpu_set_t *cpuset);
int pcap_channel_getaffinity(const char *dev, int channel_number, cpu_set_t *cpuset);
#endif

#ifdef __cplusplus
}
#endif

#endif
