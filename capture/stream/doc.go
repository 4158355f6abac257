// Package stream is the shared circular buffer between one poller and its many
// readers. Frames go in one by one with their stamps; out come packets, or the
// bytes of RAW files, to every listener at its own pace.
//
//	Producer.Append ─► data     ┌─────┬──────────┬───┬───────┬─────────┐  RAW records, back to back;
//	                            │ rec │ rec      │rec│ rec   │ padding │  mapped twice in a row, so
//	                            └─────┴──────────┴───┴───────┴─────────┘  that no record ever wraps
//	                               ▲       ▲       ▲     ▲
//	                   index    ┌──┴──┬────┴─┬─────┴┬────┴─┐              one 32-byte Entry a frame
//	                            └─────┴──────┴──────┴──────┘
//	Producer.Publish ─► control: head, index head ─► Listener.ReadBatch, Packets   (by the index)
//	                                              ─► Listener.ReadBlock, Consume   (by the byte)
//	Producer (limit)  ◄─ cursor: how far a listener has given back, a page of its own
//
// Three kinds of memory, each a memfd, so that another process can share them:
//
//   - data: the records, a power of two and a multiple of 1 MiB long. An offset
//     in the stream counts all bytes since its start and never wraps; a byte
//     lies at its offset modulo the size.
//   - control: a Header that says how the rest is laid out, the producer's
//     cursors on cache lines of their own, the table of segment starts and the
//     index. Data and control are sealed once the producer has mapped them: a
//     listener can read everything and damage nothing.
//   - cursor: 4 KiB for each listener, the only memory that it writes. The
//     producer takes what it finds there for hostile.
//
// docs/STREAM.md has every byte of them. Stream.Serve hands them to other processes
// over a socket; Attach is the other end, and gives the same Listener as Listen:
//
//	Share ──► SOCK_SEQPACKET ──► Attach     request ► ◄ answer, data, control, cursor
//	  │ one goroutine a connection            the connection is the attachment: its end,
//	  └ end of the connection: detached       whatever caused it, lets the listener go
//
// # Who waits for whom
//
// A lossless listener holds the producer back: Append stores nothing and says
// so, when data or index would overwrite what that listener has not given back.
// A lossy listener may be overtaken. The producer announces how far it is about
// to write (reserve) before it does; a listener copies what it reads and looks
// at reserve afterwards: what lies more than one buffer below it may have been
// overwritten meanwhile, is thrown away and counted, and the listener goes on
// further ahead. The announcement is made for many frames at once, so a lossy
// listener is taken for overtaken slightly before it is.
//
// Which of the two a listener is can be changed while it reads: SetPolicy. What takes
// time or a lock (waiting for its answer, detach-after, accounts that cannot be
// true) is done by a housekeeper, which runs only while there is need; never by
// the producer.
//
// # Segments
//
// A segment is what becomes one RAW file. The producer closes it when a record
// and one more header would no longer fit, by padding records up to its end, so
// no record lies in two segments and each is a valid file. A listener that asks
// for an aligned start makes the producer close the segment early, at the next
// multiple of 1 MiB: the listener's first byte is the first byte of a segment.
// For every other listener that segment is shorter, and equally valid.
package stream
