// The library's own pcap_t, and how it is told from one of the system's libpcap.
#ifndef IXCAP_HANDLE_H
#define IXCAP_HANDLE_H

#include <pcap/pcap.h>
#include <stdatomic.h>

#include "stream.h"

// A pcap_t of the system's libpcap begins with the address of a function, which no
// machine has here.
#define HANDLE_MAGIC 0xfff15043415058f1

#define MAX_SNAPLEN 262144  // as libpcap has it
#define BATCH 32            // frames taken from the stream at once
#define COPIES (128 << 10)  // bytes of a batch's copies; one more frame fits behind
#define LONGEST (65536 + 16) // bytes of a frame with a VLAN tag put back, rounded up

// A frame to be delivered.
struct frame {
	const u_char *data;
	uint32_t seconds, nanoseconds, caplen, len;
	uint64_t seq, end;  // its number, and the stream offset behind its record
};

// A queue's stream with the frames taken from it.
struct queue {
	struct stream s;
	struct frame batch[BATCH];
	unsigned next, n;    // of batch: the next to deliver, how many there are
	uint64_t seq, end;   // the position behind the batch
	bool finished, drained;  // nothing follows; there was nothing when merge looked
	uint64_t released;   // the position that the capture was told last
	u_char *copies;      // COPIES + LONGEST
};

struct pcap {
	uint64_t magic;
	char error[PCAP_ERRBUF_SIZE];
	char *device;
	struct ixcap_settings *settings;  // of the device; from pcap_activate on
	struct ixcap_fanout *asked;       // by pcap_fanout for asked_group, or NULL
	int asked_group;
	bool active, ended, nonblock;
	int snaplen, timeout, immediate, precision, rfmon, protocol;
	atomic_bool broken;        // by pcap_breakloop
	pcap_t *companion;         // a dead handle of the system's libpcap with the same properties
	struct bpf_program filter; // bf_insns is NULL without one
	struct queue *queues;
	unsigned n;
	uint64_t horizon;          // merge: frames stamped before it are next
	uint64_t held;             // merge: since when a frame waits for other queues
	int timer;                 // the selectable descriptor, or -1
	long tick;                 // its period in ns
	const u_char *kept;        // of pcap_next_ex
	struct pcap_pkthdr header;
};

static inline bool ours(const pcap_t *p) { return p->magic == HANDLE_MAGIC; }

// handle_error writes a handle's error and returns PCAP_ERROR.
int handle_error(pcap_t *p, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
