#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && sizeof(size_t) == 8, "the stream needs 64 bits, little-endian");
_Static_assert(sizeof(struct stream_entry) == 32, "docs/STREAM.md, index");

enum {
	VERSION = 4,
	SLOTS = 64,
	GROUPS = 8,
	MAX_MEMBER = 126,
	HANDED = 128,  // and a member's number: redistributed to it
	ROWS = 16,  // of handovers
	ASSIGNED_ROW = 128,
	CONTROL_PAGES = 4,  // before the tables
	SPARED = 0, CLOSED = 1,  // states of a handover
	MAX_NAME = 200,
	MAX_TEXT = 1000,
	ANSWER_SECONDS = 5,
};

#define ATTACH_MAGIC 0x3154544150414358
#define ANSWER_MAGIC 0x31534e4150414358
#define STREAM_MAGIC 0x3152545350414358
#define MAX_BYTES (UINT64_C(1) << 46)  // of a memory: two mappings fit into the address space
#define MIN_SIZE (UINT64_C(1) << 20)   // of data but for a pool: all that may be read as a record fits behind any
#define MAX_POOL (UINT64_C(4) << 32)   // what places reach

struct request {
	uint64_t magic;
	uint32_t version;
	uint8_t policy, start, aligned, zero1;
	uint64_t detach;
	uint32_t namelen, textlen;
	char name[MAX_NAME + STREAM_TEXT];  // the text follows the name
};

struct answer {
	uint64_t magic;
	uint32_t version, state;
	uint64_t id;
	uint32_t slot;
	uint8_t searching, group, member, zero;
	uint64_t bytes[2];
	uint32_t page[2], textlen, spare;
	char text[MAX_TEXT];
};

#define REQUEST_BYTES offsetof(struct request, name)
#define ANSWER_BYTES offsetof(struct answer, text)

static uint64_t word(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

static uint32_t half(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

// forks counts those of this process and of the ones it comes from.
static atomic_uint forks;

static void count_fork(void) { atomic_fetch_add(&forks, 1); }

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(count_fork, NULL, NULL); }

static bool power(uint64_t v) { return v && !(v & (v - 1)); }

// fail writes the sentence and returns the code.
static int fail(char *text, size_t room, const char *path, const char *what)
{
	snprintf(text, room, "attach to %s: %s", path, what);
	return STREAM_FAILED;
}

// join connects to the socket.
static int join(struct stream *s, const char *path, char *text, size_t room)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof to.sun_path)
		return fail(text, room, path, "the path is too long for a socket");
	memcpy(to.sun_path, path, strlen(path));
	s->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return fail(text, room, path, strerror(errno));
	struct timeval limit = {.tv_sec = ANSWER_SECONDS};
	if (setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) || setsockopt(s->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit))
		return fail(text, room, path, strerror(errno));
	if (connect(s->fd, (struct sockaddr *)&to, sizeof to) == 0)
		return STREAM_OK;
	int cause = errno;
	if (cause == EACCES || cause == EPERM) {
		snprintf(text, room, "attach to %s: %s. Run as the capture's user, or start the capture with --share-mode 0660 or 0666.", path, strerror(cause));
		return STREAM_DENIED;
	}
	fail(text, room, path, strerror(cause));
	return cause == ENOENT || cause == ECONNREFUSED || cause == ENOTDIR ? STREAM_NONE : STREAM_FAILED;
}

// descriptors takes those that came with a message; it closes what is too much.
static int descriptors(struct msghdr *m, int fds[3])
{
	int n = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len < CMSG_LEN(0))
			continue;
		size_t have = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < have; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			if (n < 3)
				fds[n++] = fd;
			else
				close(fd);
		}
	}
	return n;
}

// ask sends the request and receives the answer. The descriptors are the caller's in
// any case; those that did not come are -1.
static int ask(struct stream *s, const char *path, const struct stream_options *o, struct answer *a, int fds[3], char *text, size_t room)
{
	struct request q = {.magic = ATTACH_MAGIC, .version = VERSION, .policy = !o->lossless, .detach = o->lossless ? o->detach_after : 0};
	q.namelen = (uint32_t)strnlen(o->name, MAX_NAME);
	memcpy(q.name, o->name, q.namelen);
	q.textlen = o->fanout ? (uint32_t)strnlen(o->fanout, STREAM_TEXT) : 0;
	if (q.textlen)
		memcpy(q.name + q.namelen, o->fanout, q.textlen);
	if (send(s->fd, &q, REQUEST_BYTES + q.namelen + q.textlen, MSG_NOSIGNAL) < 0)
		return fail(text, room, path, strerror(errno));

	_Alignas(struct cmsghdr) char rights[CMSG_SPACE(4 * sizeof(int))];
	struct iovec part = {a, sizeof *a};
	struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = rights, .msg_controllen = sizeof rights};
	ssize_t n;
	do
		n = recvmsg(s->fd, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return fail(text, room, path, errno == EAGAIN ? "the capture does not answer" : strerror(errno));
	int have = descriptors(&m, fds);
	if ((size_t)n < ANSWER_BYTES || a->magic != ANSWER_MAGIC || a->textlen > MAX_TEXT || ANSWER_BYTES + a->textlen != (size_t)n)
		return fail(text, room, path, "the answer is not one of a capture");
	if (a->state != 0) {
		snprintf(text, room, "attach to %s: the capture says: %.*s", path, (int)a->textlen, a->text);
		return STREAM_FAILED;
	}
	if (a->version != VERSION)
		return fail(text, room, path, "the capture speaks another version of the stream's layout. Use this library and hpcapdd of one release.");
	if (have != 3 || a->slot >= SLOTS || a->id == 0 || a->member > MAX_MEMBER || (a->member && a->group >= GROUPS))
		return fail(text, room, path, "the answer lacks a descriptor, a slot, an id or a group");
	return STREAM_OK;
}

// sealed checks what a listener relies on: the size cannot change, so that no access
// to the mapping raises SIGBUS.
static bool sealed(int fd, uint64_t bytes)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);
	return seals >= 0 && (seals & F_SEAL_SHRINK) && fstat(fd, &st) == 0 && (uint64_t)st.st_size == bytes;
}

// map maps a memory copies times in a row.
static uint8_t *map(struct stream *s, int which, int fd, uint64_t bytes, unsigned copies, uint64_t page, int prot)
{
	if (!power(page) || page > MAX_BYTES || bytes == 0 || bytes > MAX_BYTES || bytes % page || !sealed(fd, bytes))
		return NULL;
	size_t all = copies * bytes + page;
	uint8_t *base = mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return NULL;
	s->mapped[which] = base;
	s->mapped_bytes[which] = all;
	base += (page - (uintptr_t)base % page) % page;
	for (unsigned i = 0; i < copies; i++)
		if (mmap(base + i * bytes, bytes, prot, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
			return NULL;
	return base;
}

// find_records takes from page 0 of control where records lie in data, whose size is known,
// and checks that they do.
static bool find_records(struct stream *s)
{
	const uint8_t *h = s->control;
	const uint64_t pool = word(h + 152);
	s->buffers = half(h + 160);
	s->stride = half(h + 164);
	s->headroom = half(h + 168);
	s->buffer = half(h + 172);
	if (pool == 0) {
		bool none = !s->buffers && !s->stride && !s->headroom && !s->buffer;
		s->mask = s->size - 1;
		s->last_place = s->size - 1;
		s->buffer = UINT16_MAX;
		s->window = s->entries;
		s->spare_bytes = s->size / 4 * 3;
		s->spare_frames = s->entries / 4 * 3;
		return none && s->bytes == s->size;
	}
	if (pool != s->bytes || pool > MAX_POOL || pool > s->size || !s->buffers || s->stride % 4 || s->headroom % 4 || s->headroom < STREAM_RECORD || !s->buffer)
		return false;
	s->last_place = pool - STREAM_RECORD - s->buffer;
	s->window = s->buffers / 2;  // the device has some
	s->spare_bytes = s->size;  // short frames fill few bytes of their buffers
	s->spare_frames = s->entries - s->buffers / 4;
	return (uint64_t)s->headroom + s->buffer <= s->stride && (uint64_t)s->buffers * s->stride <= pool;
}

// header checks page 0 of control and takes from it what is needed.
static bool header(struct stream *s, uint64_t bytes)
{
	const uint8_t *h = s->control;
	if (bytes < CONTROL_PAGES * STREAM_PAGE || word(h) != STREAM_MAGIC || half(h + 8) != VERSION || half(h + 72) != sizeof(struct stream_entry))
		return false;
	uint64_t at = word(h + 40), names = half(h + 84);
	s->size = word(h + 16);
	s->entries = word(h + 32);
	if (!power(s->size) || s->size < MIN_SIZE || !power(s->entries) || s->entries > bytes / sizeof(struct stream_entry) || at % sizeof(struct stream_entry) || at > bytes - s->entries * sizeof(struct stream_entry))
		return false;
	s->index = (const struct stream_entry *)(const void *)(h + at);
	snprintf(s->name, sizeof s->name, "%.*s", (int)(names < 64 ? names : 64), (const char *)h + 88);
	return true;
}

static int attach(struct stream *s, const char *path, const struct answer *a, const int fds[3], char *text, size_t room)
{
	const char *const unmapped = "the capture's memory cannot be mapped";
	s->bytes = a->bytes[0];
	s->control = map(s, 1, fds[1], a->bytes[1], 1, a->page[1], PROT_READ);
	s->cursor = map(s, 2, fds[2], STREAM_PAGE, 1, STREAM_PAGE, PROT_READ | PROT_WRITE);
	if (!s->control || !s->cursor)
		return fail(text, room, path, unmapped);
	if (!header(s, a->bytes[1]))
		return fail(text, room, path, "the stream's header is damaged");
	if (!find_records(s))
		return fail(text, room, path, "the stream's header is damaged: its memory has no room for the records or buffers that it describes");
	s->data = map(s, 0, fds[0], s->bytes, s->stride ? 1 : 2, a->page[0], PROT_READ);
	if (!s->data)
		return fail(text, room, path, unmapped);
	s->id = a->id;
	s->slot = a->slot;
	s->member = a->member;
	s->group = a->group;
	s->missed = stream_control(s, MISSED);
	s->before = word(s->cursor + ASSIGNED_BEFORE);
	s->done = word(s->cursor + HANDOVERS_DONE);
	s->mode = !s->lossless;
	memcpy(&s->at, s->cursor + ACCOUNT, sizeof s->at);
	s->head = s->at.position_offset;
	s->last = s->at.position;
	return STREAM_OK;
}

int stream_open(struct stream *s, const char *path, const struct stream_options *o, char *text, size_t room)
{
	struct answer a = {0};
	int fds[3] = {-1, -1, -1};
	memset(s, 0, sizeof *s);
	s->fd = -1;
	s->lossless = o->lossless;
	s->forks = atomic_load(&forks);
	int code = join(s, path, text, room);
	if (code == STREAM_OK)
		code = ask(s, path, o, &a, fds, text, room);
	if (code == STREAM_OK)
		code = attach(s, path, &a, fds, text, room);
	for (int i = 0; i < 3; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (code != STREAM_OK)
		stream_close(s);
	return code;
}

void stream_close(struct stream *s)
{
	// Where a fork shares the connection, the other process goes on reading.
	if (s->fd >= 0 && s->forks == atomic_load(&forks))
		(void)!send(s->fd, "XCAPBYE1", 8, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (s->fd >= 0)
		close(s->fd);
	for (int i = 0; i < 3; i++)
		if (s->mapped[i])
			munmap(s->mapped[i], s->mapped_bytes[i]);
	memset(s, 0, sizeof *s);
	s->fd = -1;
}

bool stream_overwritten(const struct stream *s, uint64_t offset, uint64_t seq)
{
	atomic_thread_fence(memory_order_acquire);  // A1: what was copied comes before these loads
	return offset + s->size < stream_control(s, RESERVE_OFFSET) || seq + s->entries < stream_control(s, RESERVE_SEQ);
}

bool stream_intact(const struct stream *s)
{
	return !stream_overwritten(s, s->at.position_offset, s->at.position);
}

void stream_gather(const struct stream *s, const uint8_t *from, uint32_t caplen, uint8_t *to)
{
	uint32_t done = caplen < s->buffer ? caplen : s->buffer;
	memcpy(to, from, done);
	if (done == caplen)
		return;
	for (uint64_t b = (uint64_t)(from - s->data) / s->stride; done < caplen;) {
		const uint32_t rest = caplen - done, part = rest < s->buffer ? rest : s->buffer;
		b = (b + 1) % s->buffers;
		memcpy(to + done, s->data + b * s->stride + s->headroom, part);
		done += part;
	}
}

void stream_release(struct stream *s)
{
	uint64_t figures[sizeof s->at / sizeof(uint64_t)], v = word(s->cursor + ACCOUNT_VERSION);
	memcpy(figures, &s->at, sizeof figures);
	stream_store(s, RELEASED_OFFSET, s->at.position_offset);
	stream_store(s, RELEASED_SEQ, s->at.position);
	stream_store(s, ACCOUNT_VERSION, v + 1);
	atomic_thread_fence(memory_order_release);  // R6
	for (unsigned i = 0; i < sizeof figures / sizeof *figures; i++)
		stream_store(s, ACCOUNT + 8 * i, figures[i]);
	stream_store(s, ACCOUNT_VERSION, v + 2);
}

bool stream_claim(struct stream *s, uint64_t seq)
{
	stream_store(s, CLAIMED, seq);
	atomic_thread_fence(memory_order_seq_cst);
	return stream_mine(s);
}

static uint64_t row(const struct stream *s, uint64_t handover, unsigned column)
{
	return stream_control(s, HANDOVER_ROWS + (unsigned)((handover - 1) % ROWS * 4 + column) * 8);
}

// begin_handover takes the range of the latest handover, which is empty where it is
// another group's.
static bool begin_handover(struct stream *s)
{
	uint64_t n = stream_control(s, HANDOVERS), group = row(s, n, 0), from = row(s, n, 1), to = row(s, n, 2);
	if (stream_control(s, HANDOVERS) != n)  // A10: the row may be the next one's
		return false;
	if (group != s->group || to < from || to - from > s->entries)
		from = to = 0;
	s->next = from;
	s->to = to;
	s->begun = n;
	stream_store(s, HANDOVER_CLAIMED, from);
	atomic_thread_fence(memory_order_seq_cst);
	stream_store(s, HANDOVER_BEGUN, n);
	return true;
}

bool stream_handover(struct stream *s, uint64_t *seq)
{
	// What a detached member has not read is another's: it must not say that it has.
	while (stream_control(s, HANDOVERS) != s->done && stream_mine(s)) {
		if (s->begun != stream_control(s, HANDOVERS) && !begin_handover(s))
			continue;
		for (; s->next < s->to; s->next++)
			if (stream_at(s, s->next)->member[s->group] == HANDED + s->member) {
				*seq = s->next++;
				return true;
			}
		stream_release(s);
		stream_store(s, HANDOVERS_DONE, s->done = s->begun);
	}
	return false;
}

bool stream_spared(const struct stream *s)
{
	atomic_thread_fence(memory_order_acquire);  // A11
	return row(s, s->begun, 3) == SPARED && stream_control(s, HANDOVERS) == s->begun;
}

bool stream_claim_handed(struct stream *s, uint64_t seq)
{
	stream_store(s, HANDOVER_CLAIMED, seq + 1);
	atomic_thread_fence(memory_order_seq_cst);
	if (stream_mine(s) && stream_control(s, HANDOVERS) == s->begun && row(s, s->begun, 3) != CLOSED)
		return true;
	s->next = s->to;  // the capture has ended it
	return false;
}

void stream_unclaim_handed(struct stream *s, uint64_t seq) { stream_store(s, HANDOVER_CLAIMED, seq); }

// count_own counts the member's entries from one frame to before another.
static uint64_t count_own(const struct stream *s, uint64_t from, uint64_t to)
{
	uint64_t n = 0;
	for (; from < to; from++)
		n += stream_at(s, from)->member[s->group] == s->member;
	return n;
}

// published loads what the capture has counted for the member, and before which frame.
static bool published(const struct stream *s, uint64_t *seq, uint64_t *frames)
{
	for (int tries = 0; tries < 1000; tries++) {
		uint64_t v = stream_control(s, ASSIGNED_VERSION);  // A12
		*seq = stream_control(s, ASSIGNED_SEQ);
		*frames = stream_control(s, ASSIGNED + 8 * (ASSIGNED_ROW * s->group + s->member));
		atomic_thread_fence(memory_order_acquire);
		if (!(v & 1) && stream_control(s, ASSIGNED_VERSION) == v)
			return true;
	}
	return false;
}

bool stream_assigned(const struct stream *s, uint64_t seq, uint64_t *frames)
{
	uint64_t at, n;
	if (!published(s, &at, &n) || at > stream_control(s, INDEX_HEAD))
		return false;
	n = n > s->before ? n - s->before : 0;
	if (at <= s->at.start) {
		at = s->at.start;
		n = 0;
	}
	uint64_t announced = stream_control(s, RESERVE_SEQ), oldest = announced > s->entries ? announced - s->entries : 0;
	if (at > seq && oldest > seq)
		seq = oldest < at ? oldest : at;
	uint64_t from = at < seq ? at : seq, to = at < seq ? seq : at;
	if (to - from > s->entries)
		return false;
	uint64_t own = count_own(s, from, to);
	atomic_thread_fence(memory_order_acquire);  // A1
	if (from < to && from + s->entries < stream_control(s, RESERVE_SEQ))
		return false;
	if (at > seq && own > n)
		return false;
	*frames = at < seq ? n + own : n - own;
	return stream_mine(s);
}

// ahead finds the first frame half a buffer ahead of what is overwritten, in a pool by the
// number of frames.
static uint64_t ahead(const struct stream *s)
{
	uint64_t low = stream_control(s, RESERVE_SEQ), high = stream_control(s, INDEX_HEAD), least = stream_control(s, RESERVE_OFFSET);
	low = low > s->entries ? low - s->entries : 0;
	low = low > s->at.position ? low : s->at.position;
	least = least > s->size / 2 ? least - s->size / 2 : 0;
	if (s->stride)
		return low < high ? low + (high - low) / 2 : low;
	while (low < high) {
		uint64_t mid = low + (high - low) / 2;
		if (stream_at(s, mid)->offset >= least)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

// skip moves a position that was overwritten ahead, and counts what lies between.
static void skip(struct stream *s)
{
	for (int tries = 0; !stream_intact(s) && tries < 1000; tries++) {
		uint64_t seq = ahead(s), last = stream_control(s, INDEX_HEAD);
		if (seq >= last && last > 0)
			seq = last - 1;  // the newest frame
		uint64_t offset = stream_at(s, seq)->offset;
		if (seq <= s->at.position || offset < s->at.position_offset || stream_overwritten(s, offset, seq))
			continue;
		s->at.overrun += seq - s->at.position;
		s->at.overrun_bytes += offset - s->at.position_offset;
		s->at.position = seq;
		s->at.position_offset = offset;
	}
	stream_release(s);
}

// policy applies a change of the listener's policy that was asked for.
static void policy(struct stream *s)
{
	uint64_t wanted = stream_control(s, WANTED + 8 * s->slot);
	bool lossless = !(wanted & 1);
	if (!stream_intact(s))
		skip(s);
	s->lossless = lossless;
	stream_store(s, MODE, s->mode = wanted);
}

static bool hung_up(struct stream *s)
{
	char c;
	if (s->gone)
		return true;
	ssize_t n = recv(s->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);
	return s->gone = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

// padding releases what lies between the last frame and the head.
static void padding(struct stream *s)
{
	if (s->at.position != s->last || s->head <= s->at.position_offset)
		return;
	*(s->member ? &s->at.skipped_bytes : &s->at.read_bytes) += s->head - s->at.position_offset;
	s->at.position_offset = s->head;
	stream_release(s);
}

enum stream_state stream_round(struct stream *s, bool idle)
{
	bool finished = stream_control(s, FINISHED);
	if (s->member ? !stream_mine(s) : stream_control(s, SLOT_IDS + 8 * s->slot) != s->id && !(finished && stream_intact(s)))
		return STREAM_DETACHED;
	if (stream_control(s, WANTED + 8 * s->slot) != s->mode)
		policy(s);
	// A4, before A2: the heads are final if the stream has ended.
	finished = finished || (idle && hung_up(s));
	s->head = stream_control(s, HEAD);
	s->last = stream_control(s, INDEX_HEAD);
	if (!s->lossless && !stream_intact(s))
		skip(s);
	padding(s);
	bool handover = s->member && stream_control(s, HANDOVERS) != s->done;
	return finished && s->at.position == s->last && !handover ? STREAM_FINISHED : STREAM_MORE;
}
