//go:build ignore
// creader is a listener written from docs/STREAM.md. It checks that the frames it reads are in sequence.
// Build: gcc -std=c11 -O2 -Wall -Wextra -Werror -o creader creader.c
// Use:   ./creader [-lossy] [-oldest] [-pattern] [-json] [-name NAME] SOCKET
// It prints rates to stderr once a second, the sum to stdout. -pattern also checks the numbers in the model's generated frames, and sums up their bytes (FNV-1a from 0).
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && sizeof(long) == 8, "64 bits, little-endian");
struct request { uint64_t magic; uint32_t version; uint8_t policy, start, aligned, zero1; uint64_t detach; uint32_t namelen, textlen; char name[200]; };
struct answer { uint64_t magic; uint32_t version, state; uint64_t id; uint32_t slot; uint8_t searching, group, member, zero; uint64_t bytes[2]; uint32_t page[2], textlen, spare; char text[1001]; };
struct entry { uint64_t offset; uint32_t hash; uint16_t vlan, info, caplen, len; uint32_t place; uint8_t member[8]; };
static uint8_t *data, *control, *cursor;
static struct entry *table; static uint64_t size, entries;  // the index; bytes of data, and entries of the index
static uint64_t pool, buffers, stride, headroom, buffer = 65535;  // bytes of a pool, or 0; its buffers, bytes of one, before a frame and of it
#define CONTROL(off) atomic_load((_Atomic uint64_t *)(control + 4096 + (off)))  // sequentially consistent: A1 to A4, SC3
#define CURSOR(off, v) atomic_store_explicit((_Atomic uint64_t *)(cursor + (off)), v, memory_order_release)  // R5 to R7
static struct state { uint64_t seq, off, stamp, number, errors, bytes, sum; int linked; } at;  // the position, and what was read before it
static uint64_t account[8];  // of the cursor page: start and position (frame, offset), frames and bytes read, overrun
static volatile sig_atomic_t stop; static void on_signal(int n) { stop = n; }
static void die(const char *what) { fprintf(stderr, "creader: %s: %s\n", what, errno ? strerror(errno) : "refused"); exit(2); }
static uint64_t u64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static uint32_t u32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static uint32_t u16(const uint8_t *p) { return p[0] | p[1] << 8; }
static uint64_t be32(const uint8_t *p) { return __builtin_bswap32(u32(p)); }
static int closed(int s) { return errno = 0, recv(s, &(char){0}, 1, MSG_PEEK | MSG_DONTWAIT) <= 0 && errno != EAGAIN && errno != EINTR; }
static void *map(int fd, uint64_t bytes, int copies, uint64_t page, int prot) {
	uint8_t *base = mmap(NULL, copies * bytes + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED) die("mmap"); else base += (page - (uintptr_t)base % page) % page;
	for (int i = 0; i < copies; i++)
		if (mmap(base + i * bytes, bytes, prot, MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, 0) == MAP_FAILED) die("mmap");
	close(fd);
	return base;
}

static struct answer attach(int s, const char *path, const char *name, int policy, int start) {
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	struct request q = {.magic = 0x3154544150414358, .version = 4, .policy = policy, .start = start, .namelen = strnlen(name, sizeof q.name - 1)};
	struct answer a = {0}; int fd[3];
	_Alignas(struct cmsghdr) char rights[CMSG_SPACE(3 * sizeof(int))];
	struct msghdr m = {.msg_iov = &(struct iovec){&a, sizeof a}, .msg_iovlen = 1, .msg_control = rights, .msg_controllen = sizeof rights};
	if (snprintf(q.name, sizeof q.name, "%s", name), snprintf(to.sun_path, sizeof to.sun_path, "%s", path) >= (int)sizeof to.sun_path) errno = ENAMETOOLONG, die(path);
	if (connect(s, (struct sockaddr *)&to, sizeof to) || send(s, &q, 32 + q.namelen, MSG_NOSIGNAL) < 0 || recvmsg(s, &m, MSG_CMSG_CLOEXEC) < 64) die(path);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	errno = 0;
	if (a.magic != 0x31534e4150414358 || a.state || a.version != 4 || !c || c->cmsg_len != CMSG_LEN(sizeof fd)) die(a.text[0] ? a.text : "answer");
	memcpy(fd, CMSG_DATA(c), sizeof fd);
	control = map(fd[1], a.bytes[1], 1, a.page[1], PROT_READ);
	if (u32(control + 8) != 4) die("layout");
	if ((pool = u64(control + 152))) buffers = u32(control + 160), stride = u32(control + 164), headroom = u32(control + 168), buffer = u32(control + 172);
	data = map(fd[0], a.bytes[0], pool ? 1 : 2, a.page[0], PROT_READ);
	cursor = map(fd[2], 4096, 1, 4096, PROT_READ | PROT_WRITE);
	size = u64(control + 16), entries = u64(control + 32), table = (struct entry *)(control + u64(control + 40));
	memcpy(account, cursor + 136, sizeof account);
	at.seq = account[2], at.off = account[3];
	return a;
}
static int overwritten(uint64_t off, uint64_t seq) {
	atomic_thread_fence(memory_order_acquire);  // A1: the copy comes before these loads
	return off + size < CONTROL(0) || seq + entries < CONTROL(8);
}
// release writes the account, which releases all that lies before the position.
static void release(void) {
	uint64_t v = u64(cursor + 128);
	CURSOR(0, account[3] = at.off), CURSOR(8, account[2] = at.seq), CURSOR(128, v + 1);
	atomic_thread_fence(memory_order_seq_cst);
	for (int i = 0; i < 8; i++) CURSOR(136 + 8 * i, account[i]);
	CURSOR(128, v + 2);
}
// skip_ahead moves to the last frame published and counts what lies between as overrun.
static void skip_ahead(void) {
	uint64_t seq, off;
	do seq = CONTROL(256) - 1, off = table[seq & (entries - 1)].offset; while (overwritten(off, seq));
	account[6] += seq - at.seq, account[7] += off - at.off, at.seq = seq, at.off = off, at.linked = 0;
	release();
}

// copy copies an entry's record. With a pool it lies in the place named, and the rest of a long frame in the buffers that follow.
static void copy(uint8_t *to, const struct entry *e) {
	uint64_t p = pool ? 4ul * e->place : e->offset & (size - 1), left = 12 + e->caplen, n = left < 12 + buffer ? left : 12 + buffer;
	if (pool && p > pool - 12 - buffer) p = 0;  // torn
	memcpy(to, data + p, n);
	for (uint64_t b = pool ? p / stride : 0; left -= n;) {
		b = (b + 1) % buffers, to += n, n = left < buffer ? left : buffer;
		memcpy(to, data + b * stride + headroom, n);
	}
}

// check reads and checks the next frame. For a lossy listener it may be torn, which the caller checks afterwards.
static struct state check(struct state s, int pattern) {
	static uint8_t frame[12 + 65535 + 64];
	struct entry e = table[s.seq & (entries - 1)];
	for (const uint8_t *p; !pool && s.off != e.offset; s.off += 12 + u16(p + 8)) {  // only padding may lie between two frames
		p = data + (s.off & (size - 1));
		if (s.off > e.offset || e.offset - s.off > size || u64(p)) { s.errors++; break; }
	}
	copy(frame, &e);
	uint64_t stamp = (u64(frame) & 0xffffffff) * 1000000000 + (u64(frame) >> 32), number;
	s.errors += stamp < s.stamp || u16(frame + 8) != e.caplen || u16(frame + 10) != e.len || (pool && e.offset < s.off);
	const uint8_t *ip = frame + 12 + (frame[24] == 0x81 && frame[25] == 0 ? 18 : 14);  // of a generated frame
	number = ip[9] == 6 ? be32(ip + 24) | be32(ip + 28) << 32 : be32(ip + 32) << 32 | be32(ip + 36);
	s.errors += pattern && (e.caplen < 60 || (ip[9] != 6 && memcmp(ip + 28, "ixcp", 4)) || (s.linked && number != s.number + 1));
	for (int i = 0; pattern && i < e.caplen; i++) s.sum = (s.sum ^ frame[12 + i]) * 0x100000001b3;
	return (struct state){s.seq + 1, e.offset + 12 + e.caplen, stamp, number, s.errors, s.bytes + e.caplen, s.sum, 1};
}

int main(int argc, char **argv) {
	static int lossy, pattern, json, oldest, bad;
	static const struct option flags[] = {{"lossy", 0, &lossy, 1}, {"oldest", 0, &oldest, 1}, {"pattern", 0, &pattern, 1}, {"json", 0, &json, 1}, {"name", 1, 0, 'n'}, {0}};
	const char *name = "creader", *end = "stopped";
	for (int c; (c = getopt_long_only(argc, argv, "", flags, NULL)) != -1; bad |= c == '?')
		if (c == 'n') name = optarg;
	if (bad || optind + 1 != argc) return fprintf(stderr, "usage: creader [-lossy] [-oldest] [-pattern] [-json] [-name NAME] SOCKET\n"), 2;
	int s = (signal(SIGINT, on_signal), signal(SIGTERM, on_signal), socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
	struct answer a = attach(s, argv[optind], name, lossy, oldest);
	uint64_t mode = lossy, slot = 1024 + 8 * a.slot, wanted = 1536 + 8 * a.slot, frames = 0, bytes = 0, delay = 0;
	for (time_t second = time(NULL); !stop;) {
		// Once the stream has ended, what is left stays, unless it went before.
		if (CONTROL(slot) != a.id && (!CONTROL(512) || overwritten(at.off, at.seq))) { end = "detached"; break; }
		if (CONTROL(wanted) != mode) {  // no frame is in use here
			mode = CONTROL(wanted), lossy = mode & 1;
			while (!lossy && overwritten(at.off, at.seq)) skip_ahead();
			CURSOR(24, mode);
		}
		// A4, before A2: the heads are final if the stream has ended.
		int finished = CONTROL(512), gone = delay && closed(s);
		uint64_t head = CONTROL(128), last = CONTROL(256), n;
		struct state next = at;
		if (lossy && overwritten(at.off, at.seq)) { skip_ahead(); continue; }
		for (n = 0; n < 256 && next.seq < last; n++) {
			struct state one = check(next, pattern);
			if (lossy && overwritten(next.off, next.seq)) break;  // it may be torn; the frames before are whole
			next = one;
		}
		if (n == 0 && at.seq == last && head > at.off) next.off = head;  // padding only
		if (next.off != at.off) {
			// Read in place, detached or made lossy, and overwritten before the acknowledgement: void.
			if (CONTROL(slot) != a.id && overwritten(at.off, at.seq)) { end = "detached"; break; }
			if (CONTROL(wanted) != mode && !lossy && overwritten(at.off, at.seq)) { skip_ahead(); continue; }
			account[4] += n, account[5] += next.off - at.off;
			at = next, delay = 0;
			release();
		} else if (at.seq == last) {
			if (finished || gone) { end = finished ? "finished" : "abandoned"; break; }
			delay = delay == 0 ? 5 : delay < 100 ? 2 * delay : 200;
			nanosleep(&(struct timespec){.tv_nsec = 1000 * delay}, NULL);
		}
		if (time(NULL) == second) continue;
		fprintf(stderr, "%lu frames/s, %.3f Gb/s, %lu overrun, %lu errors\n", account[4] - frames, (at.bytes - bytes) * 8e-9, account[6], at.errors);
		second = time(NULL), frames = account[4], bytes = at.bytes;
	}
	send(s, "XCAPBYE1", 8, MSG_NOSIGNAL);
	printf(json ? "{\"frames\": %lu, \"bytes\": %lu, \"overrun\": %lu, \"errors\": %lu, \"end\": \"%s\", \"sum\": %lu}\n"
		: "%lu frames, %lu bytes, %lu overrun, %lu errors: %s\n", account[4], at.bytes, account[6], at.errors, end, at.sum);
	return at.errors || !strcmp(end, "detached") || !strcmp(end, "abandoned");
}
