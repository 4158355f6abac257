// The library's own pcap_t, and how it is told from one of the system's libpcap.
#ifndef IXCAP_HANDLE_H
#define IXCAP_HANDLE_H

#include <pcap/pcap.h>
#include <stdatomic.h>

#include "matcher.h"
#include "stream.h"

// A pcap_t of the system's libpcap begins with the address of a function, which no
// machine has here.
#define HANDLE_MAGIC 0xfff15043415058f1

#define MAX_SNAPLEN 262144   // as libpcap has it
#define LONGEST (65536 + 16) // bytes of a frame with a VLAN tag put back, rounded up

// A frame to be delivered.
struct frame {
	const u_char *data;
	uint32_t seconds, nanoseconds, caplen, len;
	uint64_t seq, offset;  // its number, and the stream offset of its record
	uint32_t size;         // bytes of its record
	bool handed;           // it is of a handover
};

// A queue's stream, and what was taken from it since the account was written last.
struct queue {
	struct stream s;
	uint64_t seq, end;       // the next frame to look at, and the stream offset before it
	uint64_t until;          // frames before it may be looked at
	uint64_t others, others_bytes;  // of a member: frames passed over, and bytes that are not of its own
	uint64_t torn, torn_bytes;  // frames that were overwritten while the program had them
	uint64_t lost;           // of a member: frames of its own, as read_counts has returned it
	uint64_t held;           // stream offset of a frame that the program has in place, or NOTHING_HELD
	uint64_t held_seq, held_bytes;
	struct frame next;       // merge: the frame that waits, with any
	bool any;
	bool finished, drained;  // nothing follows; there was nothing when merge looked
	bool delivering;         // a member's frame is in the program's hands
	u_char *copy;            // a frame that cannot be delivered in place: LONGEST bytes
};

#define NOTHING_HELD (UINT64_MAX / 2)  // no announcement reaches it

struct pcap {
	uint64_t magic;
	char error[PCAP_ERRBUF_SIZE];
	char *device;
	struct ixcap_settings *settings;  // of the device; from pcap_activate on
	struct ixcap_fanout *asked;       // by pcap_fanout for asked_group, or NULL
	int asked_group;
	bool active, ended, nonblock;
	int snaplen, timeout, immediate, precision, rfmon, protocol;
	bool copying;              // frames are copied even where they could be used in place
	atomic_bool broken;        // by pcap_breakloop
	pcap_t *companion;         // a dead handle of the system's libpcap with the same properties
	struct bpf_program filter; // bf_insns is NULL without one
	struct step *matcher;      // the same decoded, or NULL: bpf_filter runs it
	struct queue *queues;
	unsigned n;
	uint64_t horizon;          // merge: frames stamped before it are next
	uint64_t waiting;          // merge: since when a frame waits for other queues, or 0
	int timer;                 // the selectable descriptor, or -1
	int wake;                  // an eventfd that pcap_breakloop writes to, or -1
	uint64_t gathered;         // frames are delivered at this time of CLOCK_MONOTONIC, not before
	long tick;                 // its period in ns
	struct queue *keeping;     // whose frame the program keeps until its next call, or NULL
	const u_char *kept;        // the frame that read_frames without a handler returned
	struct pcap_pkthdr header;
};

static inline bool ours(const pcap_t *p) { return p->magic == HANDLE_MAGIC; }

// handle_error writes a handle's error and returns PCAP_ERROR.
int handle_error(pcap_t *p, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
