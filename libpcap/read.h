// Reading frames from a handle's streams.
#ifndef IXCAP_READ_H
#define IXCAP_READ_H

#include "handle.h"

// Results of read_frames beside a count, PCAP_ERROR and PCAP_ERROR_BREAK.
#define READ_ENDED -100  // the capture has ended and all is read

// read_frames delivers up to limit frames; limit 0 is what there is. Where there are
// none, it waits for the handle's timeout unless the handle does not block. Without a
// handler the frame is in p->header and p->kept until the next call.
int read_frames(pcap_t *p, unsigned limit, pcap_handler f, u_char *user);

// read_settle counts what was delivered, and tells the captures. What was taken from the
// streams and not delivered is taken again, but for frames of handovers, which wait on.
void read_settle(pcap_t *p);

// read_refilter drops what waits and the new filter does not accept: frames of handovers,
// after read_settle.
void read_refilter(pcap_t *p);

// read_end is read_settle before the handle's streams are closed: a frame of a handover that
// waits is the capture's again.
void read_end(pcap_t *p);

// read_counts returns the frames of a queue that were read or lost, and those lost.
void read_counts(struct queue *q, uint64_t *received, uint64_t *dropped);

// read_descriptor returns the selectable descriptor. It ticks from then on.
int read_descriptor(pcap_t *p);

#endif
