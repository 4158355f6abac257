// Package xdp implements capture.Port with AF_XDP sockets, one for each receive queue
// of any network interface (kernel Documentation/networking/af_xdp.rst).
//
//	interface ── queue 0 ─► XDP program ─ redirect ─► socket 0: capture.Source ─┐
//	          ── queue 1 ─► (one, all queues)       ─► socket 1: capture.Source ─┴► Port: capture.Port
//	                          └─ pass ─► the kernel's stack
//
// The program counts the frames that it redirects, and the kernel those that a socket
// had no room for: what is polled must be the difference (Port.Account).
//
// A frame that is redirected does not reach the stack. XDP copies no frames, so a
// socket cannot listen along: it takes all frames (the default), those that Config.Take
// names, or all but those that Config.Pass names.
//
// A socket and the kernel share a UMEM, memory in chunks of one size, and two rings of
// chunk addresses:
//
//	fill ring   host -> kernel   chunks that the kernel may write to
//	rx ring     kernel -> host   chunks with a frame, or a part of one (XDP_PKT_CONTD)
//
// Poll reads the rx ring and writes the addresses of chunks into the fill ring; Release
// publishes both. The fill ring has a place for every chunk, so it is never full.
package xdp
