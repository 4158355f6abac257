// Package stream is the shared circular buffer between one poller and many
// readers. The producer appends frames with their stamps. Each listener reads
// packets, or the bytes of RAW files, at its own pace.
//
//	Producer.Append ─► data     ┌─────┬──────────┬───┬───────┬─────────┐  RAW records, back to back;
//	                            │ rec │ rec      │rec│ rec   │ padding │  mapped twice in a row, so
//	                            └─────┴──────────┴───┴───────┴─────────┘  that no record ever wraps
//	                               ▲       ▲       ▲     ▲
//	                   index    ┌──┴──┬────┴─┬─────┴┬────┴─┐              one 32-byte Entry a frame
//	                            └─────┴──────┴──────┴──────┘
//	Producer.Publish ─► control: head, index head ─► Listener.ReadBatch, Packets   (by the index)
//	                                              ─► Listener.ReadBlock, Consume   (by the byte)
//	Producer (limit)  ◄─ cursor: what a listener has released, one page for each
//
// A stream has three kinds of memory, each a memfd, so that processes can share
// them:
//
//   - data: the records, a power of two and a multiple of 1 MiB long. A stream
//     offset counts all bytes since the start and never wraps; a byte lies at its
//     offset modulo the size.
//   - control: a header with the layout of the rest, the producer's cursors on
//     cache lines of their own, the table of segment starts and the index. Data and
//     control are sealed once the producer has mapped them: a listener can read
//     everything and damage nothing.
//   - cursor: 4 KiB for each listener, the only memory that it writes. The producer
//     treats its contents as hostile.
//
// docs/STREAM.md specifies every byte. Stream.Serve shares the memories with other
// processes over a socket. Attach connects to it and returns the same Listener as
// Listen:
//
//	Server ──► SOCK_SEQPACKET ──► Attach     request ► ◄ answer, data, control, cursor
//	  │ one goroutine a connection             the connection is the attachment: when it
//	  └ end of the connection: detached        ends, for any reason, the listener is detached
//
// # Lossless and lossy
//
// A lossless listener holds the producer back: Append stores nothing and returns
// false when data or index would overwrite what that listener has not released.
//
// A lossy listener may be overrun. The producer announces how far it will write
// (reserve) before it writes. A listener copies what it reads and loads reserve
// after the copy: bytes more than one buffer below reserve may have been
// overwritten; the listener drops the copy, counts the frames as overrun and
// continues further ahead. One announcement covers many frames, so overruns are
// detected conservatively, slightly early.
//
// SetPolicy changes the policy while the listener reads. A housekeeper goroutine
// does what takes time or a lock (acknowledgements, detach-after, checks of
// accounts); it runs only while a listener needs it. The producer never does.
//
// # Segments
//
// A segment is what becomes one RAW file. The producer closes it when a record
// and one more header would no longer fit, with padding records up to its end, so
// no record lies in two segments and each segment is a valid file. For a listener
// that requests an aligned start the producer closes the segment early, at the
// next multiple of 1 MiB; the listener's first byte is then the first byte of a
// segment. For every other listener that segment is shorter, and equally valid.
//
// # Memory order
//
// Each pair of accesses that relies on an order has a label at both ends: R for
// the release, A with the same number for the acquire. SC marks a group of
// sequentially consistent accesses: each side stores, then loads what the other
// side stores, so at least one of them sees the other's store.
package stream
