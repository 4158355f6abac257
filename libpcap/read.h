// Reading frames from a handle's streams.
#ifndef IXCAP_READ_H
#define IXCAP_READ_H

#include "handle.h"

// Results of read_frames beside a count, PCAP_ERROR and PCAP_ERROR_BREAK.
#define READ_ENDED -100  // the capture has ended and all is read

// read_frames delivers up to limit frames; limit 0 is what there is. Where there are
// none, it waits for the handle's timeout unless the handle does not block.
int read_frames(pcap_t *p, unsigned limit, pcap_handler f, u_char *user);

// read_void drops what was taken from the streams and not delivered: it is read again.
void read_void(pcap_t *p);

// read_settle counts the frame delivered last as read, and tells the captures.
void read_settle(pcap_t *p);

// read_descriptor returns the selectable descriptor. It ticks from then on.
int read_descriptor(pcap_t *p);

#endif
