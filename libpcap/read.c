#include "read.h"

#include <poll.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "system.h"

enum {
	STEP = 1024,              // entries looked at between two looks at the capture
	CLAIM = 128,              // entries that a member claims at once
	AHEAD = 4096,             // bytes that are prefetched
	BUFFERS_AHEAD = 8,        // the same in buffers of a pool
	ENTRIES_AHEAD = 64,       // the same in entries
	MOST = 8192,              // frames delivered by one call without a limit
	GRACE = 2000000,          // ns that a frame waits for those of other queues with older stamps
	SHORTEST = 5000,          // ns, the first wait in immediate mode
	LONGEST_IMMEDIATE = 200000,
	GATHER = 10000000,        // ns that frames are gathered without a timeout
	LONGEST_GATHER = 100000000,
};

#define SECOND UINT64_C(1000000000)

static uint64_t now(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static uint64_t stamp(const struct frame *f) { return f->seconds * SECOND + f->nanoseconds; }

// put_tag copies the frame to room with the VLAN tag that the device has stripped.
static void put_tag(struct frame *f, uint16_t tag, u_char *room)
{
	const u_char type[4] = {0x81, 0x00, (u_char)(tag >> 8), (u_char)tag};
	memmove(room + 16, f->data + 12, f->caplen - 12);
	memmove(room, f->data, 12);
	memcpy(room + 12, type, 4);
	f->data = room;
	f->caplen += 4;
	f->len += 4;
}

// passes runs the filter.
static inline bool passes(const pcap_t *p, const u_char *data, uint32_t len, uint32_t caplen)
{
	if (!p->filter.bf_insns)
		return true;
	if (p->matcher)
		return matcher_run(p->matcher, data, len, caplen);
	return real.bpf_filter(p->filter.bf_insns, data, len, caplen);
}

static bool accepts(const pcap_t *p, const struct frame *f)
{
	if (p->protocol && (f->caplen < 14 || (f->data[12] << 8 | f->data[13]) != p->protocol))
		return false;
	return passes(p, f->data, f->len, f->caplen);
}

static inline void load_stamp(struct frame *f, const u_char *record)
{
	memcpy(&f->seconds, record, 4);
	memcpy(&f->nanoseconds, record + 4, 4);
}

// copy_frame copies the frame out of the stream. It returns false if it may be torn.
static bool copy_frame(struct queue *q, struct frame *f, uint64_t offset, uint64_t seq)
{
	load_stamp(f, f->data - STREAM_RECORD);
	stream_gather(&q->s, f->data, f->caplen, q->copy);
	f->data = q->copy;
	return !stream_overwritten(&q->s, offset, seq);
}

// in_place reports whether a lossy listener may use what begins at the position where it
// is: at least a quarter of the memory is left to overwrite before it.
static inline bool in_place(const struct queue *q)
{
	const struct stream *s = &q->s;
	atomic_thread_fence(memory_order_acquire);  // A1
	return q->end + s->spare_bytes >= stream_control(s, RESERVE_OFFSET) && q->seq + s->spare_frames >= stream_control(s, RESERVE_SEQ);
}

// finish_frame puts the tag back and filters.
static inline bool finish_frame(const pcap_t *p, struct queue *q, struct frame *f, uint16_t info, uint16_t vlan)
{
	if ((info & (STREAM_HAS_VLAN | STREAM_STRIPPED)) == (STREAM_HAS_VLAN | STREAM_STRIPPED) && f->caplen >= 12)
		put_tag(f, vlan, q->copy);
	return accepts(p, f);
}

// take finds the queue's next frame among those that it may look at. A member passes over
// those of others; which these are is known once the first is not overwritten after that.
static inline bool take(const pcap_t *p, struct queue *q, struct frame *f)
{
	struct stream *s = &q->s;
	while (q->seq < q->until) {
		const struct stream_entry *e = stream_at(s, q->seq);
		uint64_t seq = q->seq, end = q->end;
		for (; s->member && seq < q->until && e->member[s->group] != s->member; e = stream_at(s, ++seq))
			end = e->offset + STREAM_RECORD + e->caplen;
		const bool found = seq < q->until;
		if (found) {
			end = e->offset;
			*f = (struct frame){.data = stream_record(s, e) + STREAM_RECORD, .caplen = e->caplen, .len = e->len, .seq = seq, .offset = end, .size = STREAM_RECORD + e->caplen};
		}
		const uint16_t info = e->info, vlan = e->vlan;
		if (found && !p->copying && f->caplen <= s->buffer && (s->lossless || in_place(q)))
			load_stamp(f, f->data - STREAM_RECORD);
		else if (!(found ? copy_frame(q, f, q->end, q->seq) : !stream_overwritten(s, q->end, q->seq)) && !s->lossless) {
			q->until = q->seq;  // overrun: it skips ahead when it begins again
			return false;
		}
		if (s->member) {
			q->others += seq - q->seq;
			q->others_bytes += end - q->end;
		}
		q->seq = seq + found;
		q->end = found ? end + f->size : end;
		if (found && finish_frame(p, q, f, info, vlan))
			return true;
	}
	return false;
}

// count_handed counts a frame of a handover that was delivered, or that no filter accepts.
static void count_handed(struct queue *q, const struct frame *f)
{
	q->s.at.handed++;
	q->s.at.handed_bytes += f->size;
}

// take_handed finds the queue's next frame of a handover.
static bool take_handed(const pcap_t *p, struct queue *q, struct frame *f)
{
	struct stream *s = &q->s;
	uint64_t seq;
	while (s->member && stream_handover(s, &seq)) {
		const struct stream_entry e = *stream_at(s, seq);
		*f = (struct frame){.data = stream_record(s, &e) + STREAM_RECORD, .caplen = e.caplen, .len = e.len, .seq = seq, .offset = e.offset, .size = STREAM_RECORD + e.caplen, .handed = true};
		if ((!copy_frame(q, f, e.offset, seq) && !stream_spared(s)) || !stream_claim_handed(s, seq))
			continue;
		if (finish_frame(p, q, f, e.info, e.vlan))
			return true;
		count_handed(q, f);
	}
	return false;
}

// done ends the program's use of the frame delivered last. If it was used in place and is
// overwritten by now, the program may have seen a torn one: it counts as lost.
static inline void done(struct queue *q)
{
	struct stream *s = &q->s;
	if (q->held != NOTHING_HELD && stream_overwritten(s, q->held, q->held_seq)) {
		q->torn++;
		q->torn_bytes += q->held_bytes;
	}
	q->held = NOTHING_HELD;
	if (q->delivering)
		stream_store(s, DELIVERED, q->held_seq + 1);
	q->delivering = false;
}

// settle counts what was taken since it was counted last, and moves the position.
static void settle(struct queue *q)
{
	struct stream *s = &q->s;
	uint64_t frames = q->seq - s->at.position, bytes = q->end - s->at.position_offset;
	if (frames == 0)
		return;
	s->at.read += frames - q->others - q->torn;
	s->at.read_bytes += bytes - q->others_bytes - q->torn_bytes;
	s->at.skipped += q->others;
	s->at.skipped_bytes += q->others_bytes;
	s->at.overrun += q->torn;
	s->at.overrun_bytes += q->torn_bytes;
	s->at.position = q->seq;
	s->at.position_offset = q->end;
	q->others = q->others_bytes = q->torn = q->torn_bytes = 0;
}

// release writes the account. A member holds nothing then.
static void release(struct queue *q)
{
	if (q->s.member) {
		stream_store(&q->s, DELIVERING, q->seq);
		stream_store(&q->s, DELIVERED, q->seq);
	}
	stream_release(&q->s);
}

static int detached(pcap_t *p, struct queue *q)
{
	q->until = q->seq;
	return handle_error(p, "%s: the capture has detached this listener; hpcapctl listeners tells why", p->device);
}

// unreleased reports whether so much was read since the account was written that the
// capture should know: a lossless listener holds it back.
static bool unreleased(const struct queue *q)
{
	const struct stream *s = &q->s;
	const uint64_t most = s->entries / 16 < STEP ? s->entries / 16 : STEP;
	return q->seq - stream_released(s, false) >= most || q->end - stream_released(s, true) >= s->size / 16;
}

// claim makes the next frames a member's that the last round has found, without another
// round. It returns false if one is due.
static bool claim(struct queue *q)
{
	struct stream *s = &q->s;
	if (!s->member || q->seq >= s->last || unreleased(q) || stream_control(s, WANTED + 8 * s->slot) != s->mode)
		return false;
	if (!s->lossless && stream_overwritten(s, q->end, q->seq))
		return false;
	q->until = s->last - q->seq > CLAIM ? q->seq + CLAIM : s->last;
	return stream_claim(s, q->until);
}

// begin makes the frames that follow the queue's. It returns 1 if there are some, 0 if
// there are none now, or an error.
static int begin(pcap_t *p, struct queue *q, bool idle)
{
	struct stream *s = &q->s;
	if (claim(q))
		return 1;
	if (s->member && !stream_mine(s))
		return detached(p, q);
	settle(q);
	if (q->seq != stream_released(s, false) && (s->member || idle || q->seq == s->last || unreleased(q)))
		release(q);
	enum stream_state state = stream_round(s, idle);
	q->seq = s->at.position;
	q->end = s->at.position_offset;
	q->finished = state == STREAM_FINISHED;
	uint64_t step = s->member ? CLAIM : STEP;
	q->until = s->last - q->seq > step ? q->seq + step : s->last;
	if (state == STREAM_DETACHED || (s->member && q->until > q->seq && !stream_claim(s, q->until)))
		return detached(p, q);
	return q->until > q->seq;
}

// ready finds the queue's next frame. Frames that no filter accepts are no reason to
// stop: it looks on while there are more.
static inline int ready(pcap_t *p, struct queue *q, struct frame *f, bool idle)
{
	while (!take(p, q, f)) {
		if (q->finished)
			return 0;
		if (q->s.member && take_handed(p, q, f))
			return 1;
		int r = begin(p, q, idle);
		if (r <= 0 || atomic_load_explicit(&p->broken, memory_order_relaxed))
			return r < 0 ? r : 0;
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
		if (!q->any) {
			*open = *open || !q->finished;
			*unknown = *unknown || !(q->finished || q->drained);
		} else if (!first || stamp(&q->next) < stamp(&first->next))
			first = q;
	}
	return first;
}

// refill finds a frame for each queue that has none.
static int refill(pcap_t *p, bool idle)
{
	for (struct queue *q = p->queues; q < p->queues + p->n; q++) {
		if (q->any)
			continue;
		int r = ready(p, q, &q->next, idle);
		if (r < 0)
			return r;
		q->any = r > 0;
		q->drained = r == 0;
	}
	return 0;
}

// merge picks the next frame of several queues. While a queue has none, a frame of
// another waits until it is older than what may still come.
static int merge(pcap_t *p, struct queue **from, bool idle)
{
	bool open, unknown;
	*from = oldest(p, &open, &unknown);
	if (*from && !unknown && (!open || stamp(&(*from)->next) <= p->horizon))
		return 1;
	uint64_t since = now(CLOCK_REALTIME);
	int r = refill(p, idle);
	if (r < 0)
		return r;
	*from = oldest(p, &open, &unknown);
	if (!*from)
		return 0;
	p->horizon = since - GRACE;
	bool next = !open || stamp(&(*from)->next) <= p->horizon;
	// The stamps' clock may be another: nothing waits longer than the grace.
	if (!p->waiting)
		p->waiting = since;
	next = next || since - p->waiting >= GRACE;
	if (next)
		p->waiting = 0;
	return next;
}

// pick returns 1 with the next frame and its queue, 0 if there is none now.
static inline int pick(pcap_t *p, struct queue **from, struct frame *f, bool idle)
{
	if (p->n == 1) {
		*from = p->queues;
		return ready(p, p->queues, f, idle);
	}
	int r = merge(p, from, idle);
	if (r > 0) {
		*f = (*from)->next;
		(*from)->any = (*from)->drained = false;
	}
	return r;
}

// hold notes what the program gets. It returns false if a member has lost the frame to
// others.
static inline bool hold(struct queue *q, const struct frame *f)
{
	struct stream *s = &q->s;
	if (f->handed)
		count_handed(q, f);
	q->held_seq = f->seq;
	if (!s->lossless && f->data != q->copy) {
		q->held = f->offset;
		q->held_bytes = f->size;
	}
	if (!s->member || f->handed)
		return true;
	if (!stream_mine(s))
		return false;
	stream_store(s, DELIVERING, f->seq + 1);
	return q->delivering = true;
}

// run is the fast path of deliver: it hands out frames of a queue in place until there is
// one that has to be copied, that lies in several buffers, whose tag has to be put back, or
// that needs a look at the capture. What a member passes over before that is left to take.
//
// One look at the announcement serves two frames: it comes after the program has done with
// one and after the entry of the next was loaded (A1). Up to the limits both are whole.
static inline __attribute__((always_inline)) unsigned run(pcap_t *p, struct queue *q, unsigned limit, pcap_handler f, u_char *user, const bool member, const bool pool)
{
	struct stream *s = &q->s;
	const uint8_t *const data = s->data, *const control = s->control + STREAM_PAGE, number = s->member, group = s->group;
	const uint64_t mask = s->mask, last_place = s->last_place, ahead = pool ? BUFFERS_AHEAD * (uint64_t)s->stride : AHEAD, id = s->id, at = q->seq & (s->entries - 1);
	const uint64_t until = q->until - q->seq < s->entries - at ? q->until : q->seq + s->entries - at;  // the index ends
	const uint64_t offset_limit = s->lossless ? NOTHING_HELD : q->end + s->spare_bytes, seq_limit = s->lossless ? NOTHING_HELD : q->seq + s->spare_frames;
	const unsigned slot = SLOT_IDS + 8 * s->slot;
	const uint32_t snaplen = (uint32_t)p->snaplen, buffer = s->buffer;
	const bool nano = p->precision == PCAP_TSTAMP_PRECISION_NANO;
	struct pcap_pkthdr h = {0};
	uint64_t last = NOTHING_HELD;
	unsigned left = limit;
	const struct stream_entry *e = s->index + at;
	for (uint64_t seq = q->seq; left > 0 && seq < until; e++) {
		while (member && e->member[group] != number && ++seq < until)
			e++;
		if (seq >= until)
			break;
		const uint64_t offset = e->offset, next = offset + STREAM_RECORD + e->caplen, place = pool ? stream_place(s, e) : offset & mask;
		const uint8_t *const record = data + place;
		const uint32_t len = e->len, caplen = e->caplen;
		const uint16_t info = e->info;
		atomic_thread_fence(memory_order_acquire);
		if (stream_word(control, RESERVE_OFFSET) > offset_limit || stream_word(control, RESERVE_SEQ) > seq_limit || (info & STREAM_STRIPPED) || (pool && (caplen > buffer || place > last_place)))
			break;
		__builtin_prefetch(record + ahead);
		__builtin_prefetch(e + ENTRIES_AHEAD);
		last = NOTHING_HELD;
		if (member && offset != q->end) {  // others' frames or padding
			q->others += seq - q->seq;
			q->others_bytes += offset - q->end;
		}
		q->seq = ++seq;
		q->end = next;
		if (!passes(p, record + STREAM_RECORD, len, caplen))
			continue;
		if (member) {
			if (stream_word(control, slot) != id && !stream_mine(s)) {
				q->until = seq;  // begin says why
				break;
			}
			stream_store(s, DELIVERING, seq);
		}
		uint32_t stamps[2];
		memcpy(stamps, record, sizeof stamps);
		h.ts.tv_sec = stamps[0];
		h.ts.tv_usec = nano ? stamps[1] : stamps[1] / 1000;
		h.caplen = caplen < snaplen ? caplen : snaplen;
		h.len = len;
		last = offset;
		left--;
		f(user, &h, record + STREAM_RECORD);
		if (member)
			stream_store(s, DELIVERED, seq);
		if (atomic_load_explicit(&p->broken, memory_order_relaxed))
			break;
	}
	if (last != NOTHING_HELD && !s->lossless && stream_overwritten(s, last, q->seq - 1)) {
		q->torn++;
		q->torn_bytes += q->end - last;
	}
	return limit - left;
}

static __attribute__((noinline)) unsigned run_member(pcap_t *p, struct queue *q, unsigned limit, pcap_handler f, u_char *user) { return run(p, q, limit, f, user, true, false); }

static __attribute__((noinline)) unsigned run_all(pcap_t *p, struct queue *q, unsigned limit, pcap_handler f, u_char *user) { return run(p, q, limit, f, user, false, false); }

static __attribute__((noinline)) unsigned run_member_pool(pcap_t *p, struct queue *q, unsigned limit, pcap_handler f, u_char *user) { return run(p, q, limit, f, user, true, true); }

static __attribute__((noinline)) unsigned run_all_pool(pcap_t *p, struct queue *q, unsigned limit, pcap_handler f, u_char *user) { return run(p, q, limit, f, user, false, true); }

// deliver hands out what there is, at most limit frames. Without a handler it is one,
// which the program keeps until its next call.
static int deliver(pcap_t *p, unsigned limit, pcap_handler f, u_char *user, bool idle)
{
	unsigned n = 0;
	struct queue *q = NULL;
	struct frame one;
	struct pcap_pkthdr h = {0};
	while (n < limit && !atomic_load_explicit(&p->broken, memory_order_relaxed)) {
		if (f && p->n == 1 && !p->protocol && !p->copying) {
			const struct stream *s = &p->queues->s;
			n += (s->stride ? s->member ? run_member_pool : run_all_pool : s->member ? run_member : run_all)(p, p->queues, limit - n, f, user);
			if (n >= limit || atomic_load_explicit(&p->broken, memory_order_relaxed))
				break;
		}
		int r = pick(p, &q, &one, idle && n == 0);
		if (r <= 0)
			return n || r == 0 ? (int)n : r;
		if (!hold(q, &one))
			return n ? (int)n : detached(p, q);
		h.ts.tv_sec = one.seconds;
		h.ts.tv_usec = p->precision == PCAP_TSTAMP_PRECISION_NANO ? one.nanoseconds : one.nanoseconds / 1000;
		h.caplen = one.caplen < (uint32_t)p->snaplen ? one.caplen : (uint32_t)p->snaplen;
		h.len = one.len;
		n++;
		if (!f) {
			p->header = h;
			p->kept = one.data;
			p->keeping = q;
			break;
		}
		f(user, &h, one.data);
		done(q);
	}
	return (int)n;
}

// drop_kept ends the program's use of the frame that it got last.
static void drop_kept(pcap_t *p)
{
	if (p->keeping)
		done(p->keeping);
	p->keeping = NULL;
}

// left reports whether frames are known that were not delivered.
static bool left(const pcap_t *p)
{
	for (const struct queue *q = p->queues; q < p->queues + p->n; q++)
		if (q->any || q->seq < q->s.last || (q->s.member && stream_control(&q->s, HANDOVERS) != q->s.done))
			return true;
	return false;
}

// tick makes the descriptor readable at once if frames are left, else at the next tick.
static void tick(pcap_t *p)
{
	uint64_t ticks;
	if (left(p) || p->ended) {
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

// broken reports whether pcap_breakloop was called, once.
static bool broken(pcap_t *p)
{
	uint64_t count;
	if (!atomic_exchange(&p->broken, false))
		return false;
	if (p->wake >= 0)
		(void)!read(p->wake, &count, sizeof count);
	return true;
}

// pause_for waits, until pcap_breakloop is called.
static void pause_for(pcap_t *p, uint64_t ns)
{
	const struct timespec t = {.tv_sec = (time_t)(ns / SECOND), .tv_nsec = (long)(ns % SECOND)};
	struct pollfd wake = {.fd = p->wake, .events = POLLIN};
	uint64_t count;
	if (ppoll(&wake, p->wake >= 0, &t, NULL) <= 0 || atomic_load(&p->broken))
		return;
	// The program may have closed the descriptor, which is another's then.
	if ((wake.revents & ~POLLIN) || read(p->wake, &count, sizeof count) <= 0) {
		p->wake = -1;
		nanosleep(&t, NULL);
	}
}

// slice is how long a wait may be without a look: in that time 10 Gb/s fill less than half
// of each memory, by the shortest frames (67 ns each) and by the longest (0.8 ns a byte).
static uint64_t slice(const pcap_t *p, uint64_t longest)
{
	for (const struct queue *q = p->queues; q < p->queues + p->n; q++) {
		uint64_t index = q->s.window * 33, data = q->s.bytes / 3;
		longest = index < longest ? index : longest;
		longest = data < longest ? data : longest;
	}
	return longest;
}

static uint64_t gather_time(const pcap_t *p)
{
	uint64_t timeout = p->timeout > 0 ? (uint64_t)p->timeout * 1000000 : GATHER;
	return timeout < LONGEST_GATHER ? timeout : LONGEST_GATHER;
}

// stirred reports whether the gathering of frames should end: a queue is full by an
// eighth, has ended, or has lost its listener.
static bool stirred(const pcap_t *p)
{
	for (const struct queue *q = p->queues; q < p->queues + p->n; q++) {
		const struct stream *s = &q->s;
		if (stream_control(s, HEAD) - q->end > s->size / 8 || stream_control(s, INDEX_HEAD) - q->seq > s->window / 8)
			return true;
		if (stream_control(s, FINISHED) || stream_control(s, SLOT_IDS + 8 * s->slot) != s->id || stream_control(s, WANTED + 8 * s->slot) != s->mode)
			return true;
	}
	return false;
}

// gather waits until there is more than a few frames, unless the program wants them at
// once: each call and each look have their price.
static void gather(pcap_t *p)
{
	if (p->immediate || p->nonblock || p->timer >= 0 || !p->gathered || left(p))
		return;
	uint64_t most = slice(p, LONGEST_GATHER);
	for (bool waited = false; !atomic_load(&p->broken) && !stirred(p); waited = true) {
		uint64_t at = now(CLOCK_MONOTONIC);
		if (at + (waited ? most / 2 : 0) >= p->gathered)  // a short wait more is not worth its price
			return;
		pause_for(p, most < p->gathered - at ? most : p->gathered - at);
	}
}

// all_finished reports whether the captures have ended and everything is delivered.
static bool all_finished(const pcap_t *p)
{
	for (const struct queue *q = p->queues; q < p->queues + p->n; q++)
		if (!q->finished || q->any)
			return false;
	return true;
}

// await delivers as soon as there are frames, until the timeout.
static int await(pcap_t *p, unsigned limit, pcap_handler f, u_char *user)
{
	uint64_t wait = p->immediate ? SHORTEST : slice(p, gather_time(p));
	uint64_t since = 0, timeout = (uint64_t)p->timeout * 1000000;
	for (;;) {
		int n = deliver(p, limit, f, user, since != 0);
		if (n != 0)
			return n;
		if (broken(p))
			return PCAP_ERROR_BREAK;
		if (all_finished(p))
			return READ_ENDED;
		if (p->nonblock || ticked(p))
			return 0;
		uint64_t at = now(CLOCK_MONOTONIC);
		since = since ? since : at;
		if (p->timeout > 0 && at - since >= timeout)
			return 0;
		pause_for(p, wait);
		if (p->immediate && wait < LONGEST_IMMEDIATE)
			wait *= 2;
	}
}

// drop_overwritten counts frames as lost that wait for their turn among several queues,
// and were overwritten since the call before.
static void drop_overwritten(pcap_t *p)
{
	for (struct queue *q = p->queues; q < p->queues + p->n; q++)
		if (q->any && !q->s.lossless && q->next.data != q->copy && stream_overwritten(&q->s, q->next.offset, q->next.seq)) {
			q->torn++;
			q->torn_bytes += q->next.size;
			q->any = false;
		}
}

int read_frames(pcap_t *p, unsigned limit, pcap_handler f, u_char *user)
{
	drop_kept(p);
	drop_overwritten(p);
	if (broken(p))
		return PCAP_ERROR_BREAK;
	gather(p);
	int n = await(p, limit ? limit : MOST, f, user);
	if (n == READ_ENDED)
		p->ended = true;
	if (n == 0 && broken(p))
		n = PCAP_ERROR_BREAK;
	if (p->timer >= 0)
		tick(p);
	else if (n > 0 && !p->immediate && !left(p))
		p->gathered = now(CLOCK_MONOTONIC) + gather_time(p);
	else
		p->gathered = 0;
	return n;
}

void read_settle(pcap_t *p)
{
	drop_kept(p);
	for (struct queue *q = p->queues; q < p->queues + p->n; q++) {
		if (q->any && !q->next.handed) {
			// It was taken and not delivered.
			q->seq = q->next.seq;
			q->end = q->next.offset;
			q->any = false;
		}
		settle(q);
		if (memcmp(q->s.cursor + ACCOUNT, &q->s.at, sizeof q->s.at) != 0)
			release(q);
	}
}

void read_refilter(pcap_t *p)
{
	for (struct queue *q = p->queues; q < p->queues + p->n; q++)
		if (q->any && !accepts(p, &q->next)) {
			count_handed(q, &q->next);
			q->any = false;
		}
}

void read_end(pcap_t *p)
{
	for (struct queue *q = p->queues; q < p->queues + p->n; q++)
		if (q->any && q->next.handed)
			stream_unclaim_handed(&q->s, q->next.seq);
	read_settle(p);
}

void read_counts(struct queue *q, uint64_t *received, uint64_t *dropped)
{
	const struct stream *s = &q->s;
	uint64_t read = s->at.read + q->seq - s->at.position - q->others - q->torn, assigned;
	*dropped = s->at.overrun + q->torn;
	if (s->member) {
		// Of a member, others' frames are among those.
		if (*dropped > 0 && stream_assigned(s, q->seq, &assigned) && assigned > read + q->lost)
			q->lost = assigned - read;
		*dropped = q->lost;
	}
	*received = read + *dropped + s->at.handed - (q->any && !q->next.handed);
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
