// Package capturetest has a port without a device, for tests of what captures it, and the pool
// of packet buffers of a stream, for tests of what reads it.
//
//	test ── Queue.Put ──► Queue (capture.Source) ──┐
//	                                               ├─► Port (capture.Port, capture.Stopper) ─► Engine
//	test ── CloseEnded, CloseGone ─────────────────┘
//
//	test ── Pool.Append ──► packet buffers, index (stream.Producer) ──► listeners
package capturetest
