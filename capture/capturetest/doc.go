// Package capturetest has a port without a device, for tests of what captures it.
//
//	test ── Queue.Put ──► Queue (capture.Source) ──┐
//	                                               ├─► Port (capture.Port, capture.Stopper) ─► Engine
//	test ── CloseEnded, CloseGone ─────────────────┘
package capturetest
