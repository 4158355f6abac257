// A listener of one queue's stream, as docs/STREAM.md specifies it.
#ifndef IXCAP_STREAM_H
#define IXCAP_STREAM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// How a stream_open failed.
enum stream_error {
	STREAM_OK = 0,
	STREAM_NONE = -1,    // no capture serves the socket
	STREAM_DENIED = -2,  // the socket's mode does not admit this user
	STREAM_FAILED = -3,  // the text says what is wrong
};

// State of a stream after stream_round.
enum stream_state {
	STREAM_MORE,      // frames may follow
	STREAM_FINISHED,  // the capture has ended and everything is read
	STREAM_DETACHED,  // the capture has detached this listener
};

// An entry of the index, one a frame.
struct stream_entry {
	uint64_t offset;
	uint32_t hash;
	uint16_t vlan, info, caplen, len;
	uint32_t place;
	uint8_t member[8];
};

// The bits of stream_entry.info that a reader of frames needs.
#define STREAM_HAS_VLAN 0x0002
#define STREAM_STRIPPED 0x0004

#define STREAM_TEXT 4096  // bytes of a request's text
#define STREAM_SOCKET_PATH 108  // room of a socket's path, with its end

#define STREAM_RECORD 12  // bytes of a record before its frame

// Figures of the cursor page, in its order.
struct stream_account {
	uint64_t start, start_offset, position, position_offset, read, read_bytes, overrun, overrun_bytes;
	uint64_t skipped, skipped_bytes, handed, handed_bytes;
};

struct stream {
	int fd;              // the connection, which is the attachment
	bool lossless;       // frames are read in place
	unsigned forks;      // of this process when the stream was opened
	bool gone;           // the capture's side of the connection is closed
	uint8_t *data;       // mapped twice in a row, a pool once
	uint8_t *control, *cursor;
	void *mapped[3];     // what to unmap, with its size
	size_t mapped_bytes[3];
	uint64_t bytes;          // of data
	uint64_t size, entries;  // the same as offsets count, entries of the index: powers of two
	const struct stream_entry *index;
	uint64_t mask, last_place;  // of an offset, to where its record lies, 0 in a pool; where the last can lie
	uint32_t buffer;            // bytes of a frame behind its record's header: in a pool the rest lies in other buffers
	uint32_t buffers, stride, headroom;  // of a pool, or 0
	uint64_t window;                     // frames that may be kept before they are overwritten
	uint64_t spare_bytes, spare_frames;  // announced beyond a position so many, it is soon overwritten
	uint64_t id, mode;
	uint32_t slot;
	uint64_t head, last;  // stream bytes and frames known to be published
	struct stream_account at;
	char name[65];        // the capture's interface
	uint8_t member, group;  // of a fan-out group: the listener's number in it, or 0; the group's slot
	uint64_t before;        // of a member: what was assigned to others who had its number
	uint64_t missed;        // by the port when the listener was attached
	uint64_t done;          // handovers read
	uint64_t begun;         // the one that is read, counted from 1
	uint64_t next, to;      // what is left of it
};

struct stream_options {
	const char *name;        // of the listener
	bool lossless;
	uint64_t detach_after;   // of a lossless listener, in ns; 0: never
	const char *fanout;      // the request's text, which makes it a member of a group, or NULL
};

// stream_open attaches to the socket. On an error it writes one sentence to text.
int stream_open(struct stream *s, const char *path, const struct stream_options *o, char *text, size_t room);

// stream_round does the checks that begin a round, learns what is published, and
// skips ahead where a lossy listener was overtaken. No frame is in use during a round.
// An idle round looks whether the capture has died, too, which costs a system call.
enum stream_state stream_round(struct stream *s, bool idle);

// stream_intact reports whether what was copied from the position on is whole (A1).
bool stream_intact(const struct stream *s);

// stream_overwritten reports whether the record at offset, of frame seq, may have been
// overwritten by now (A1).
bool stream_overwritten(const struct stream *s, uint64_t offset, uint64_t seq);

// stream_gather copies caplen bytes of the frame that begins at from in data.
void stream_gather(const struct stream *s, const uint8_t *from, uint32_t caplen, uint8_t *to);

// stream_release writes the account and the position.
void stream_release(struct stream *s);

// stream_claim makes the frames before seq the member's: they may be in its hands from
// then on (SC5). It returns false if the member was detached: they are others' then.
bool stream_claim(struct stream *s, uint64_t seq);

// stream_handover finds the member's next frame of a handover, from s->next on, and begins
// the handover that waits. It returns false if there is none.
bool stream_handover(struct stream *s, uint64_t *seq);

// stream_spared reports whether the producer overwrites nothing of the handover that the
// member reads. It is called after the copy.
bool stream_spared(const struct stream *s);

// stream_claim_handed is stream_claim for a frame of a handover (SC4).
bool stream_claim_handed(struct stream *s, uint64_t seq);

// stream_unclaim_handed takes back the last stream_claim_handed, of a frame that was not
// passed to the program.
void stream_unclaim_handed(struct stream *s, uint64_t seq);

// stream_assigned counts the frames before seq that were assigned to the member; where seq
// is overwritten by now, those before what is not. It returns false if that is not known.
bool stream_assigned(const struct stream *s, uint64_t seq, uint64_t *frames);

// stream_close detaches and unmaps.
void stream_close(struct stream *s);

// Offsets in the pages of cursors, and in the cursor page.
enum {
	RESERVE_OFFSET = 0, RESERVE_SEQ = 8, HEAD = 128, INDEX_HEAD = 256, FINISHED = 512, MISSED = 768, SLOT_IDS = 1024, WANTED = 1536,
	HANDOVERS = 2048, HANDOVER_ROWS = 2176, ASSIGNED_VERSION = 2688, ASSIGNED_SEQ = 2696, ASSIGNED = 4096,
	RELEASED_OFFSET = 0, RELEASED_SEQ = 8, MODE = 24, ACCOUNT_VERSION = 128, ACCOUNT = 136,
	CLAIMED = 256, DELIVERING = 264, DELIVERED = 272, HANDOVERS_DONE = 280, HANDOVER_CLAIMED = 288, HANDOVER_BEGUN = 296, ASSIGNED_BEFORE = 304,
};

#define STREAM_PAGE 4096

// stream_word loads a word that the capture changes.
static inline uint64_t stream_word(const uint8_t *page, unsigned offset)  // A1 to A4, SC3
{
	return atomic_load((const _Atomic uint64_t *)(const void *)(page + offset));
}

static inline uint64_t stream_control(const struct stream *s, unsigned offset) { return stream_word(s->control + STREAM_PAGE, offset); }

static inline void stream_store(struct stream *s, unsigned offset, uint64_t v)  // R5 to R7
{
	atomic_store_explicit((_Atomic uint64_t *)(void *)(s->cursor + offset), v, memory_order_release);
}

// stream_released returns the position that the account in the cursor page has, or its
// offset.
static inline uint64_t stream_released(const struct stream *s, bool offset)
{
	return atomic_load_explicit((const _Atomic uint64_t *)(const void *)(s->cursor + ACCOUNT + 16 + 8 * offset), memory_order_relaxed);
}

// stream_mine reports whether the member is attached. It reads on after the end of the
// capture if nothing that it left was given to others.
static inline bool stream_mine(const struct stream *s)
{
	uint64_t w = stream_control(s, SLOT_IDS + 8 * s->slot);
	return w == s->id || (w == (s->id | UINT64_C(1) << 63) && stream_control(s, FINISHED));
}

static inline const struct stream_entry *stream_at(const struct stream *s, uint64_t seq)
{
	return &s->index[seq & (s->entries - 1)];
}

// stream_place returns where in data an entry's record may lie; beyond last_place it is
// none. The capture may change the entry at any time.
static inline uint64_t stream_place(const struct stream *s, const struct stream_entry *e)
{
	const uint64_t offset = atomic_load_explicit((const _Atomic uint64_t *)(const void *)&e->offset, memory_order_relaxed);
	const uint64_t place = atomic_load_explicit((const _Atomic uint32_t *)(const void *)&e->place, memory_order_relaxed);
	return (offset & s->mask) + 4 * place;
}

// stream_record returns an entry's record, of a corrupt entry some.
static inline const uint8_t *stream_record(const struct stream *s, const struct stream_entry *e)
{
	const uint64_t at = stream_place(s, e);
	return s->data + (at <= s->last_place ? at : 0);
}

#endif
