#include <ctype.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config.h"

// Run an ethtool command on a device. 0, or -1 with errno.
static int ethtool(const char *dev, struct ethtool_channels *channels, __u32 command)
{
	struct ifreq request = {0};
	if (strlen(dev) >= sizeof request.ifr_name) {
		errno = ENODEV;
		return -1;
	}
	strcpy(request.ifr_name, dev);
	request.ifr_data = (char *)channels;
	channels->cmd = command;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	int r = ioctl(fd, SIOCETHTOOL, &request), error = errno;
	close(fd);
	errno = error;
	return r < 0 ? -1 : 0;
}

static const char *advice(int error)
{
	switch (error) {
	case ENODEV:
		return " Is it a network interface of this host?";
	case EOPNOTSUPP:
		return " The device's driver has no such channels.";
	case EPERM:
		return " CAP_NET_ADMIN is needed.";
	default:
		return "";
	}
}

static int fail(char *errbuf, const char *what, const char *dev)
{
	int error = errno;
	snprintf(errbuf, PCAP_ERRBUF_SIZE, "%s of %.60s: %s.%s", what, dev, strerror(error), advice(error));
	errno = error;
	return -1;
}

int pcap_get_channels(const char *dev, struct pcap_channels *info, char *errbuf)
{
	struct ethtool_channels c = {0};
	if (ethtool(dev, &c, ETHTOOL_GCHANNELS) != 0)
		return fail(errbuf, "get channels", dev);
	*info = (struct pcap_channels){c.max_rx, c.max_tx, c.max_other, c.max_combined,
	                               c.rx_count, c.tx_count, c.other_count, c.combined_count};
	return 1;
}

// Set one count if the mask names it. -1: it is above the device's limit.
static int change(__u32 *count, unsigned to, unsigned limit, int named, const char *kind, const char *dev, char *errbuf)
{
	if (!named)
		return 0;
	if (to > limit) {
		snprintf(errbuf, PCAP_ERRBUF_SIZE, "set %s channels of %.60s to %u: the device has at most %u.", kind, dev, to, limit);
		errno = EINVAL;
		return -1;
	}
	*count = to;
	return 0;
}

int pcap_set_channels(const char *dev, const struct pcap_channels *ch, int channel_mask, char *errbuf)
{
	struct ethtool_channels c = {0}, before;
	if ((channel_mask & PCAP_ALL_CHANNELS) == 0 || (channel_mask & ~PCAP_ALL_CHANNELS) != 0) {
		snprintf(errbuf, PCAP_ERRBUF_SIZE, "set channels of %.60s: mask %#x names no channels. Possible: PCAP_RX_CHANNELS and others of pcap/fanout.h.", dev, (unsigned)channel_mask);
		errno = EINVAL;
		return -1;
	}
	if (ethtool(dev, &c, ETHTOOL_GCHANNELS) != 0)
		return fail(errbuf, "get channels", dev);
	before = c;
	if (change(&c.rx_count, ch->rx_count, c.max_rx, channel_mask & PCAP_RX_CHANNELS, "rx", dev, errbuf) != 0 ||
	    change(&c.tx_count, ch->tx_count, c.max_tx, channel_mask & PCAP_TX_CHANNELS, "tx", dev, errbuf) != 0 ||
	    change(&c.other_count, ch->other_count, c.max_other, channel_mask & PCAP_OTHER_CHANNELS, "other", dev, errbuf) != 0 ||
	    change(&c.combined_count, ch->combined_count, c.max_combined, channel_mask & PCAP_COMBINED_CHANNELS, "combined", dev, errbuf) != 0)
		return -1;
	if (memcmp(&c, &before, sizeof c) != 0 && ethtool(dev, &c, ETHTOOL_SCHANNELS) != 0)
		return fail(errbuf, "set channels", dev);
	return 1;
}

// The channel's number at the end of an interrupt's name (eth0-TxRx-3, virtio0-input.3), or -1. The device's name alone is channel 0.
static int channel_of(const char *name, const char *dev)
{
	if (strcmp(name, dev) == 0)
		return 0;
	size_t n = strcspn(name, "@"), first = n;
	while (first > 0 && isdigit((unsigned char)name[first - 1]))
		first--;
	return first < n && n - first < 6 && first > 0 ? atoi(name + first) : -1;
}

// How well an interrupt's name stands for a receive channel: 3 both directions, 2 receive, 1 no direction, 0 not.
static int receives(const char *name)
{
	static const char *const never[] = {"async", "ctrl", "config", "control", "event", "lsc", "misc", "mgmnt", "mbox", "fdir"};
	for (size_t i = 0; i < sizeof never / sizeof never[0]; i++)
		if (strcasestr(name, never[i]) != NULL)
			return 0;
	int rx = strcasestr(name, "rx") != NULL || strcasestr(name, "input") != NULL;
	int tx = strcasestr(name, "tx") != NULL || strcasestr(name, "output") != NULL;
	if (rx && tx)
		return 3;
	return rx ? 2 : !tx;
}

// 1: the name has dev as a whole word (i40e-eth0-TxRx-0), 0: not.
static int names_device(const char *name, const char *dev)
{
	size_t n = strlen(dev);
	for (const char *at = strstr(name, dev); at != NULL; at = strstr(at + 1, dev))
		if ((at == name || !isalnum((unsigned char)at[-1])) && (at[n] == '-' || at[n] == 0 || at[n] == ':'))
			return 1;
	return 0;
}

// 1: sysfs says that the interrupt is the device's, 0: another's, -1: it says nothing.
static int sysfs_owns(const char *dev, int irq)
{
	static const char *const folders[] = {"device/msi_irqs", "device/../msi_irqs"};
	char path[512];
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "%s/sys/class/net/%s/%s", ixcap_root, dev, folders[i]);
		if (access(path, F_OK) != 0)
			continue;
		size_t n = strlen(path);
		snprintf(path + n, sizeof path - n, "/%d", irq);
		return access(path, F_OK) == 0;
	}
	return -1;
}

// The interrupt of a receive channel, by /proc/interrupts. -1: errno has the reason.
static int find_irq(const char *dev, int channel)
{
	char path[256], *line = NULL;
	size_t size = 0;
	int best = 0, found = -1;
	if (channel < 0 || dev[0] == 0 || strlen(dev) >= IFNAMSIZ || strchr(dev, '/') != NULL) {
		errno = EINVAL;
		return -1;
	}
	snprintf(path, sizeof path, "%s/proc/interrupts", ixcap_root);
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return -1;
	while (getline(&line, &size, file) > 0) {
		char *end, *name;
		long irq = strtol(line, &end, 10);
		line[strcspn(line, "\n")] = 0;
		name = strrchr(line, ' ');
		if (end == line || *end != ':' || irq < 0 || irq > 1 << 20 || name == NULL || channel_of(++name, dev) != channel)
			continue;
		int owns = sysfs_owns(dev, (int)irq);
		if (owns == 0 || (owns < 0 && !names_device(name, dev)) || receives(name) <= best)
			continue;
		best = receives(name);
		found = (int)irq;
	}
	free(line);
	fclose(file);
	if (found < 0)
		errno = ENOENT;
	return found;
}

static FILE *affinity(const char *dev, int channel, const char *mode)
{
	char path[256];
	int irq = find_irq(dev, channel);
	if (irq < 0)
		return NULL;
	snprintf(path, sizeof path, "%s/proc/irq/%d/smp_affinity_list", ixcap_root, irq);
	return fopen(path, mode);
}

int pcap_channel_setaffinity(const char *dev, int channel_number, const cpu_set_t *cpuset)
{
	char list[4096];
	if (ixcap_cpus_print(cpuset, list, sizeof list) != 0) {
		errno = EINVAL;
		return -1;
	}
	FILE *file = affinity(dev, channel_number, "we");
	if (file == NULL)
		return -1;
	int failed = fprintf(file, "%s\n", list) < 0;
	int error = errno;
	if (fclose(file) != 0) {
		failed = 1;
		error = errno;
	}
	errno = failed ? error : errno;
	return failed ? -1 : 1;
}

int pcap_channel_getaffinity(const char *dev, int channel_number, cpu_set_t *cpuset)
{
	char list[4096];
	FILE *file = affinity(dev, channel_number, "re");
	if (file == NULL)
		return -1;
	char *read = fgets(list, sizeof list, file);
	fclose(file);
	if (read == NULL) {
		errno = EIO;
		return -1;
	}
	list[strcspn(list, "\n")] = 0;
	if (ixcap_cpus_parse(list, cpuset) != 0) {
		errno = EINVAL;
		return -1;
	}
	return 1;
}

// Combined channels of a device that has receive channels alone are these.
static int apply_channels(const struct ixcap_device *d, char *errbuf)
{
	struct pcap_channels want = d->channels, has;
	int mask = d->channel_mask;
	if (pcap_get_channels(d->name, &has, errbuf) != 1)
		return -1;
	if ((mask & PCAP_COMBINED_CHANNELS) && !(mask & PCAP_RX_CHANNELS) && has.max_combined == 0 && has.max_rx > 0) {
		want.rx_count = want.combined_count;
		mask = (mask & ~PCAP_COMBINED_CHANNELS) | PCAP_RX_CHANNELS;
	}
	return pcap_set_channels(d->name, &want, mask, errbuf);
}

int ixcap_settings_apply(const struct ixcap_settings *settings, char *errbuf)
{
	char reason[PCAP_ERRBUF_SIZE];
	errbuf[0] = 0;
	for (int i = 0; i < settings->ndevices; i++)
		if (settings->devices[i].channel_mask != 0 && apply_channels(&settings->devices[i], reason) != 1)
			ixcap_warn(errbuf, "%s", reason);
	for (int i = 0; i < settings->nirqs; i++) {
		const struct ixcap_irq *irq = &settings->irqs[i];
		const char *name = settings->devices[irq->device].name;
		cpu_set_t has;
		if (pcap_channel_getaffinity(name, irq->channel, &has) == 1 && CPU_EQUAL(&has, &irq->cpus))
			continue;  // no right to write is needed
		if (pcap_channel_setaffinity(name, irq->channel, &irq->cpus) != 1)
			ixcap_warn(errbuf, "set affinity of %.60s channel %d: %s", name, irq->channel,
			           errno == ENOENT ? "/proc/interrupts has no such channel" : strerror(errno));
	}
	return errbuf[0] != 0;
}
