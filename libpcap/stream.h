// A listener of one queue's stream, as docs/STREAM.md specifies it.
#ifndef IXCAP_STREAM_H
#define IXCAP_STREAM_H

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
	uint32_t spare;
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
	uint8_t *data;       // mapped twice in a row
	uint8_t *control, *cursor;
	void *mapped[3];     // what to unmap, with its size
	size_t mapped_bytes[3];
	uint64_t size, entries;  // bytes of data, entries of the index: powers of two
	const struct stream_entry *index;
	uint64_t id, mode;
	uint32_t slot;
	uint64_t head, last;  // stream bytes and frames known to be published
	struct stream_account at;
	char name[65];        // the capture's interface
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

// stream_advance moves the position to frame seq at stream offset end: the frames
// before it are read. stream_release tells the capture.
static inline void stream_advance(struct stream *s, uint64_t seq, uint64_t end)
{
	s->at.read += seq - s->at.position;
	s->at.read_bytes += end - s->at.position_offset;
	s->at.position = seq;
	s->at.position_offset = end;
}
void stream_release(struct stream *s);

// stream_close detaches and unmaps.
void stream_close(struct stream *s);

static inline const struct stream_entry *stream_at(const struct stream *s, uint64_t seq)
{
	return &s->index[seq & (s->entries - 1)];
}

static inline const uint8_t *stream_record(const struct stream *s, uint64_t offset)
{
	return s->data + (offset & (s->size - 1));
}

#endif
