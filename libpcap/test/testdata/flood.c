// flood sends frames of 60 bytes: flood INTERFACE FRAMES PER_MILLISECOND
#define _GNU_SOURCE
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 64, BYTES = 60 };

static int open_socket(const char *interface)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(interface)};
	int fd = socket(AF_PACKET, SOCK_RAW, 0), on = 1;
	if (fd < 0 || to.sll_ifindex == 0 || bind(fd, (struct sockaddr *)&to, sizeof to) || setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on)) {
		perror(interface);
		exit(1);
	}
	return fd;
}

int main(int argc, char **argv)
{
	static unsigned char frames[BATCH][BYTES];
	struct iovec part[BATCH];
	struct mmsghdr m[BATCH] = {0};
	if (argc != 4)
		return 2;
	int fd = open_socket(argv[1]);
	long left = atol(argv[2]), burst = atol(argv[3]), sent = 0;
	for (int i = 0; i < BATCH; i++) {
		memset(frames[i], 0, BYTES);
		frames[i][0] = 2;
		frames[i][12] = 0x88;
		frames[i][13] = 0xb5;
		part[i] = (struct iovec){frames[i], BYTES};
		m[i].msg_hdr = (struct msghdr){.msg_iov = &part[i], .msg_iovlen = 1};
	}
	while (left > 0) {
		int n = sendmmsg(fd, m, left < BATCH ? (unsigned)left : BATCH, 0);
		if (n < 0)
			continue;
		left -= n;
		sent += n;
		if (sent >= burst) {
			sent = 0;
			nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
		}
	}
	return 0;
}
