// settings ROOT DEVICE: print the resolved settings, with ROOT in front of /etc, /proc and /sys.
// settings ROOT apply DEVICE: apply them. settings ROOT getaffinity|setaffinity DEVICE CHANNEL [CPUS].
// settings ROOT channels DEVICE. settings ROOT fanout TEXT GROUP. settings ROOT packet TEXT... (joins with sockets on lo)
// settings ROOT many: for each line KIND PATH of standard input print what the configuration file (KIND
// file) or the text of pcap_fanout (KIND fanout) in PATH says, and a line "end".
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "../../config.h"

static char errbuf[PCAP_ERRBUF_SIZE];

static int fail(void)
{
	printf("error %s\n", errbuf);
	return 1;
}

static void print_device(const struct ixcap_settings *s, int i)
{
	char text[2048], cpus[4096];
	const struct ixcap_device *d = &s->devices[i];
	printf("device %s alias %d group %d channels", d->name, d->alias, d->group);
	if (d->channel_mask & PCAP_RX_CHANNELS) printf(" rx %u", d->channels.rx_count);
	if (d->channel_mask & PCAP_TX_CHANNELS) printf(" tx %u", d->channels.tx_count);
	if (d->channel_mask & PCAP_OTHER_CHANNELS) printf(" other %u", d->channels.other_count);
	if (d->channel_mask & PCAP_COMBINED_CHANNELS) printf(" combined %u", d->channels.combined_count);
	printf("\n");
	for (int k = 0; k < s->nirqs; k++)
		if (s->irqs[k].device == i && ixcap_cpus_print(&s->irqs[k].cpus, cpus, sizeof cpus) == 0)
			printf("irq %d %s\n", s->irqs[k].channel, cpus);
	if (d->group < 0)
		return;
	if (ixcap_fanout_request(&d->fanout, d->group, text, sizeof text, errbuf) < 0)
		fail();
	else
		printf("%s", text);
}

static int print(const char *device)
{
	static struct ixcap_settings s;
	if (ixcap_settings_resolve(device, &s, errbuf) != 0)
		return fail();
	printf("driver %s\n", s.ours ? "ixcap" : "-");
	for (int i = 0; i < s.ndevices; i++)
		print_device(&s, i);
	printf("caplen %d%s\npolicy %s %u\n", s.caplen, s.caplen_forced ? " forced" : "", s.policy == IXCAP_LOSSLESS ? "lossless" : "lossy", s.detach_seconds);
	if (s.copy >= 0)
		printf("copy %d\n", s.copy);
	if (s.warning[0] != 0)
		printf("warning %s\n", s.warning);
	return 0;
}

static int apply(const char *device)
{
	static struct ixcap_settings s;
	if (ixcap_settings_resolve(device, &s, errbuf) != 0)
		return fail();
	if (ixcap_settings_apply(&s, errbuf) != 0)
		printf("warning %s\n", errbuf);
	return 0;
}

static int channels(const char *device)
{
	struct pcap_channels c;
	if (pcap_get_channels(device, &c, errbuf) != 1)
		return fail();
	printf("rx %u/%u tx %u/%u other %u/%u combined %u/%u\n", c.rx_count, c.max_rx, c.tx_count, c.max_tx, c.other_count, c.max_other, c.combined_count, c.max_combined);
	return 0;
}

static int affinity(int set, const char *device, int channel, const char *list)
{
	cpu_set_t cpus;
	char text[4096];
	if (set && ixcap_cpus_parse(list, &cpus) != 0)
		return 2;
	int r = set ? pcap_channel_setaffinity(device, channel, &cpus) : pcap_channel_getaffinity(device, channel, &cpus);
	if (r != 1) {
		printf("error %d %s\n", r, strerror(errno));
		return 1;
	}
	printf("%d %s\n", r, ixcap_cpus_print(&cpus, text, sizeof text) == 0 ? text : "-");
	return 0;
}

static int fanout(const char *text, int group)
{
	struct ixcap_fanout f = {0};
	char request[4097], warning[PCAP_ERRBUF_SIZE] = "";
	if (ixcap_fanout_parse(text, &f, warning, errbuf) != 0 || ixcap_fanout_request(&f, group, request, sizeof request, errbuf) < 0)
		return fail();
	printf("%s", request);
	if (warning[0] != 0)
		printf("warning %s\n", warning);
	return 0;
}

static int packet(char **texts)
{
	for (; *texts != NULL; texts++) {
		struct ixcap_fanout f = {0};
		char warning[PCAP_ERRBUF_SIZE] = "";
		struct sockaddr_ll lo = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex("lo")};
		int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)), value = 0;
		socklen_t n = sizeof value;
		if (fd < 0 || bind(fd, (struct sockaddr *)&lo, sizeof lo) != 0) {
			perror("packet socket");
			return 3;
		}
		if (ixcap_fanout_parse(*texts, &f, warning, errbuf) != 0 || ixcap_fanout_packet(fd, 4711, &f, errbuf) != 0) {
			fail();
			continue;
		}
		if (getsockopt(fd, SOL_PACKET, PACKET_FANOUT, &value, &n) != 0)
			return 3;
		printf("joined %d mode 0x%x\n", value & 0xffff, (unsigned)value >> 16);
	}
	return 0;
}

static void fanout_of(const char *path)
{
	char text[65536];
	FILE *file = fopen(path, "re");
	if (file == NULL)
		exit(3);
	text[fread(text, 1, sizeof text - 1, file)] = 0;
	fclose(file);
	fanout(text, 7);
}

static int many(void)
{
	char line[4096];
	while (fgets(line, sizeof line, stdin) != NULL) {
		line[strcspn(line, "\n")] = 0;
		if (strncmp(line, "file ", 5) == 0) {
			setenv("PCAP_CONFIG", line + 5, 1);
			print("ixcap:eth0^eth1:2");
		} else if (strncmp(line, "fanout ", 7) == 0) {
			fanout_of(line + 7);
		} else {
			return 2;
		}
		printf("end\n");
		fflush(stdout);
	}
	return 0;
}

int main(int argc, char **argv)
{
	ixcap_root = argc > 1 ? argv[1] : "";
	if (argc == 3)
		return strcmp(argv[2], "many") == 0 ? many() : print(argv[2]);
	if (argc == 4 && strcmp(argv[2], "apply") == 0)
		return apply(argv[3]);
	if (argc == 4 && strcmp(argv[2], "channels") == 0)
		return channels(argv[3]);
	if (argc == 5 && strcmp(argv[2], "fanout") == 0)
		return fanout(argv[3], atoi(argv[4]));
	if (argc >= 4 && strcmp(argv[2], "packet") == 0)
		return packet(argv + 3);
	if (argc == 5 && strcmp(argv[2], "getaffinity") == 0)
		return affinity(0, argv[3], atoi(argv[4]), NULL);
	if (argc == 6 && strcmp(argv[2], "setaffinity") == 0)
		return affinity(1, argv[3], atoi(argv[4]), argv[5]);
	fprintf(stderr, "usage: settings ROOT DEVICE\n");
	return 2;
}
