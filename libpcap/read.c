#include "read.h"

#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "system.h"

enum {
	SCAN = 1024,              // entries looked at for one batch
	MOST = 8192,              // frames delivered by one call without a limit
	GRACE = 2000000,          // ns that a frame waits for those of other queues with older stamps
	FIRST_SLEEP = 5000,       // ns
	LONG_SLEEP = 200000,      // ns
	IDLE_SLEEP = 1000000,     // ns, after many long ones
	IDLE_AFTER = 500,         // sleeps
};

#define SECOND UINT64_C(1000000000)

static uint64_t now(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static uint64_t stamp(const struct frame *f) { return f->seconds * SECOND + f->nanoseconds; }

static void load_frame(struct frame *f, const struct queue *q, uint64_t seq)
{
	const struct stream_entry e = *stream_at(&q->s, seq);
	const u_char *record = stream_record(&q->s, e.offset);
	memcpy(&f->seconds, record, 4);
	memcpy(&f->nanoseconds, record + 4, 4);
	f->data = record + STREAM_RECORD;
	f->caplen = e.caplen;
	f->len = e.len;
	f->seq = seq;
	f->end = e.offset + STREAM_RECORD + e.caplen;
}

// put_tag copies the frame to room with the VLAN tag that the device has stripped.
static void put_tag(struct frame *f, uint16_t tag, u_char *room)
{
	const u_char type[4] = {0x81, 0x00, (u_char)(tag >> 8), (u_char)tag};
	memcpy(room, f->data, 12);
	memcpy(room + 12, type, 4);
	memcpy(room + 16, f->data + 12, f->caplen - 12);
	f->data = room;
	f->caplen += 4;
	f->len += 4;
}

static bool accepted(const pcap_t *p, const struct frame *f)
{
	if (p->protocol && (f->caplen < 14 || (f->data[12] << 8 | f->data[13]) != p->protocol))
		return false;
	return !p->filter.bf_insns || real.bpf_filter(p->filter.bf_insns, f->data, f->len, f->caplen);
}

// take puts the frame into the batch, if it is accepted. It returns the bytes of
// copies used by then. What a lossy listener reads may be torn: the data is copied,
// and looked at again by fill.
static size_t take(const pcap_t *p, struct queue *q, struct frame *f, size_t used)
{
	const struct stream_entry *e = stream_at(&q->s, f->seq);
	u_char *room = q->copies + used;
	bool tagged = (e->info & (STREAM_HAS_VLAN | STREAM_STRIPPED)) == (STREAM_HAS_VLAN | STREAM_STRIPPED) && f->caplen >= 12;
	if (tagged)
		put_tag(f, e->vlan, room);
	if (!accepted(p, f))
		return used;
	if (f->caplen > (uint32_t)p->snaplen)
		f->caplen = (uint32_t)p->snaplen;
	if (!tagged && !q->s.lossless) {
		memcpy(room, f->data, f->caplen);
		f->data = room;
	}
	q->batch[q->n++] = *f;
	return tagged || !q->s.lossless ? used + ((f->caplen + 15) & ~15u) : used;
}

// fill takes the next frames. It returns 0 if there are none now, 1 if there are, or
// an error.
static int fill(pcap_t *p, struct queue *q, bool idle)
{
	stream_advance(&q->s, q->seq, q->end);
	if (q->s.at.position != q->released) {
		stream_release(&q->s);
		q->released = q->s.at.position;
	}
	q->next = q->n = 0;
	enum stream_state state = stream_round(&q->s, idle);
	q->seq = q->s.at.position;
	q->end = q->s.at.position_offset;
	q->released = q->seq;
	if (state == STREAM_DETACHED)
		return handle_error(p, "%s: the capture has detached this listener; hpcapctl listeners tells why", p->device);
	q->finished = state == STREAM_FINISHED;
	uint64_t last = q->s.last - q->seq > SCAN ? q->seq + SCAN : q->s.last;
	size_t used = 0;
	while (q->seq < last && q->n < BATCH && used <= COPIES) {
		struct frame f;
		load_frame(&f, q, q->seq);
		__builtin_prefetch(stream_record(&q->s, stream_at(&q->s, q->seq + 4)->offset));
		used = take(p, q, &f, used);
		q->seq++;
		q->end = f.end;
	}
	if (!q->s.lossless && !stream_intact(&q->s)) {
		// Overtaken while it was copied: what was taken is void.
		q->n = 0;
		q->seq = q->s.at.position;
		q->end = q->s.at.position_offset;
	}
	return q->n > 0;
}

// ready fills the queue's batch if it is empty. Frames that no filter accepts are no
// reason to stop: it looks on while there are more.
static int ready(pcap_t *p, struct queue *q, bool idle)
{
	while (q->next == q->n) {
		if (q->finished)
			return 0;
		int r = fill(p, q, idle);
		if (r < 0 || (r == 0 && q->seq == q->s.at.position))
			return r;
		if (atomic_load_explicit(&p->broken, memory_order_relaxed))
			return 0;
	}
	return 1;
}

// oldest returns the queue whose next frame has the oldest stamp. *open is set if a
// queue without a frame may have older ones by the horizon, *unknown if one was not looked at.
static struct queue *oldest(pcap_t *p, bool *open, bool *unknown)
{
	struct queue *first = NULL;
	*open = *unknown = false;
	for (struct queue *q = p->queues; q < p->queues + p->n; q++) {
		if (q->next == q->n) {
			*open = *open || !q->finished;
			*unknown = *unknown || !(q->finished || q->drained);
		} else if (!first || stamp(&q->batch[q->next]) < stamp(&first->batch[first->next]))
			first = q;
	}
	return first;
}

// merge picks the next frame of several queues. While a queue has none, a frame of
// another waits until it is older than what may still come.
static int merge(pcap_t *p, struct queue **from, bool idle)
{
	bool open, unknown;
	*from = oldest(p, &open, &unknown);
	if (*from && !unknown && (!open || stamp(&(*from)->batch[(*from)->next]) <= p->horizon))
		return 1;
	uint64_t since = now(CLOCK_REALTIME);
	for (struct queue *q = p->queues; q < p->queues + p->n; q++) {
		int r = ready(p, q, idle);
		if (r < 0)
			return r;
		q->drained = r == 0;
	}
	*from = oldest(p, &open, &unknown);
	if (!*from)
		return 0;
	p->horizon = since - GRACE;
	bool next = !open || stamp(&(*from)->batch[(*from)->next]) <= p->horizon;
	// The stamps' clock may be another: nothing waits longer than the grace.
	if (!p->held)
		p->held = since;
	next = next || since - p->held >= GRACE;
	if (next)
		p->held = 0;
	return next;
}

// pick returns 1 with the queue of the next frame, 0 if there is none now.
static int pick(pcap_t *p, struct queue **from, bool idle)
{
	if (p->n != 1)
		return merge(p, from, idle);
	*from = p->queues;
	return p->queues->next < p->queues->n ? 1 : ready(p, p->queues, idle);
}

static bool all_finished(const pcap_t *p)
{
	for (unsigned i = 0; i < p->n; i++)
		if (!p->queues[i].finished || p->queues[i].next < p->queues[i].n)
			return false;
	return true;
}

// deliver hands out what there is, at most limit frames.
static int deliver(pcap_t *p, unsigned limit, pcap_handler f, u_char *user, bool idle)
{
	unsigned n = 0;
	struct pcap_pkthdr h;
	struct queue *q;
	while (n < limit && !atomic_load_explicit(&p->broken, memory_order_relaxed)) {
		int r = pick(p, &q, idle && n == 0);
		if (r < 0)
			return n ? (int)n : r;
		if (r == 0)
			break;
		const struct frame *one = &q->batch[q->next++];
		h.ts.tv_sec = one->seconds;
		h.ts.tv_usec = p->precision == PCAP_TSTAMP_PRECISION_NANO ? one->nanoseconds : one->nanoseconds / 1000;
		h.caplen = one->caplen;
		h.len = one->len;
		f(user, &h, one->data);
		n++;
	}
	return (int)n;
}

// tick makes the descriptor readable at once if frames are left, else at the next tick.
static void tick(pcap_t *p)
{
	uint64_t ticks;
	bool left = false;
	for (unsigned i = 0; i < p->n; i++)
		left = left || p->queues[i].next < p->queues[i].n || p->queues[i].seq < p->queues[i].s.last;
	if (left || p->ended) {
		struct itimerspec t = {.it_value = {.tv_nsec = 1}, .it_interval = {.tv_nsec = p->tick}};
		timerfd_settime(p->timer, 0, &t, NULL);
		return;
	}
	(void)!read(p->timer, &ticks, sizeof ticks);
}

// ticked reports whether a program that waits for the descriptor has been woken: it
// waits there again, not here.
static bool ticked(const pcap_t *p)
{
	uint64_t ticks;
	return p->timer >= 0 && read(p->timer, &ticks, sizeof ticks) > 0;
}

static void pause_for(uint64_t ns)
{
	nanosleep(&(struct timespec){.tv_sec = (time_t)(ns / SECOND), .tv_nsec = (long)(ns % SECOND)}, NULL);
}

// await delivers as soon as there are frames, until the timeout.
static int await(pcap_t *p, unsigned limit, pcap_handler f, u_char *user)
{
	uint64_t sleep = FIRST_SLEEP, until = now(CLOCK_MONOTONIC) + (uint64_t)p->timeout * 1000000;
	for (unsigned sleeps = 0;; sleeps++) {
		int n = deliver(p, limit, f, user, true);
		if (n != 0)
			return n;
		if (atomic_exchange(&p->broken, false))
			return PCAP_ERROR_BREAK;
		if (all_finished(p))
			return READ_ENDED;
		if (p->nonblock || ticked(p) || (p->timeout > 0 && now(CLOCK_MONOTONIC) >= until))
			return 0;
		pause_for(sleep);
		sleep = sleep * 2 < LONG_SLEEP ? sleep * 2 : LONG_SLEEP;
		if (sleeps > IDLE_AFTER && !p->immediate)
			sleep = IDLE_SLEEP;
	}
}

int read_frames(pcap_t *p, unsigned limit, pcap_handler f, u_char *user)
{
	if (atomic_exchange(&p->broken, false))
		return PCAP_ERROR_BREAK;
	int n = await(p, limit ? limit : MOST, f, user);
	if (n == READ_ENDED)
		p->ended = true;
	if (n == 0 && atomic_exchange(&p->broken, false))
		n = PCAP_ERROR_BREAK;
	if (p->timer >= 0)
		tick(p);
	return n;
}

void read_void(pcap_t *p)
{
	read_settle(p);
	for (struct queue *q = p->queues; q < p->queues + p->n; q++) {
		q->next = q->n = 0;
		q->seq = q->s.at.position;
		q->end = q->s.at.position_offset;
	}
}

void read_settle(pcap_t *p)
{
	for (struct queue *q = p->queues; q < p->queues + p->n; q++) {
		if (q->next == q->n)
			stream_advance(&q->s, q->seq, q->end);
		else if (q->next > 0)
			stream_advance(&q->s, q->batch[q->next - 1].seq + 1, q->batch[q->next - 1].end);
		if (q->s.at.position != q->released)
			stream_release(&q->s);
		q->released = q->s.at.position;
	}
}

int read_descriptor(pcap_t *p)
{
	if (p->timer >= 0)
		return p->timer;
	p->tick = 1000000L * (p->immediate ? 1 : p->timeout <= 0 || p->timeout > 10 ? 10 : p->timeout);
	struct timespec every = {.tv_nsec = p->tick};
	p->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (p->timer >= 0)
		timerfd_settime(p->timer, 0, &(struct itimerspec){.it_value = every, .it_interval = every}, NULL);
	return p->timer;
}
