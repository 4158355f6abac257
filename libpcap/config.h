// Settings of a device: configuration files and environment (pcap.conf(5)).
//
// Precedence: environment over files, a device's own value over the default, a group's own
// value over the default. PCAP_CONFIG names the one file that is read; without it
// /etc/pcap.conf and then ~/.pcap.conf are, and later lines override earlier ones.
// Set-user-ID programs ignore the environment and the user's file.
#ifndef IXCAP_CONFIG_H
#define IXCAP_CONFIG_H

#include "fanout.h"

#define IXCAP_DEVICES 16
#define IXCAP_IRQS    256  // channels of a device, and affinities of all devices

// How a group divides its frames, and this member's part: a request's text (docs/STREAM.md).
struct ixcap_fanout {
	char mode[16];  // "": the group's present mode, else hash
	char filter[512];  // mode filter: a pcap expression
	char tunnels[64];  // separated by commas
	char departed[16];  // "", redistribute or count
	char member[64];  // "": the default name
	unsigned weight;  // 1 to 255; 0: not given
	unsigned threshold;  // mode buddy: 1 to 100 percent; 0: not given
	int defrag;  // packet sockets: PACKET_FANOUT_FLAG_DEFRAG
	int rollover;  // packet sockets: PACKET_FANOUT_FLAG_ROLLOVER
};

struct ixcap_device {
	char name[256];  // without :N
	int alias;  // N of a virtual device name:N, or -1
	int group;  // 0 to 65535, or -1
	struct ixcap_fanout fanout;
	struct pcap_channels channels;
	int channel_mask;  // the counts of channels that are given
};

struct ixcap_irq {
	int device;  // index in devices
	int channel;
	cpu_set_t cpus;
};

enum ixcap_policy { IXCAP_LOSSY, IXCAP_LOSSLESS };

struct ixcap_settings {
	int ours;  // devices of a capture that shares them; else the system's libpcap has the device
	int ndevices;
	struct ixcap_device devices[IXCAP_DEVICES];
	int nirqs;
	struct ixcap_irq irqs[IXCAP_IRQS];
	int caplen;  // bytes, 0: not given
	int caplen_forced;  // PCAP_CAPLEN: overrides the application's snaplen
	int copy;  // 1: frames are copied, 0: read in place, -1: not given
	enum ixcap_policy policy;
	unsigned detach_seconds;  // lossless only, 0: never
	char warning[PCAP_ERRBUF_SIZE];  // lines that are not as they read, "": none
};

// Prefix of /etc, /proc and /sys; "" but in tests.
extern const char *ixcap_root;

// The names behind the driver of a device of ours: what follows ixcap: (or pfq:, pfring:), or the
// whole name when PCAP_DRIVER says so. NULL: the device is the system's.
const char *ixcap_device_names(const char *device);

// Resolve the settings of device, as an application names it. -1: errbuf has file, line and reason.
int ixcap_settings_resolve(const char *device, struct ixcap_settings *settings, char *errbuf);

// Set channels and affinities. 0: all are as the settings say; 1: errbuf has what could not be set.
int ixcap_settings_apply(const struct ixcap_settings *settings, char *errbuf);

#endif
