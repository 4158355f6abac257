// Package capture stores what a network port receives, once, for many readers.
//
// In goes a Port: receive queues to be polled, and the port's own account of
// what reached it. Out come streams, one for each queue: frames as RAW records
// with a nanosecond stamp, in memory that any number of listeners read at their
// own pace, and at the end a Ledger in which every frame is accounted for.
//
//	        Port                              Engine
//	+--------------------+    +-----------------------------------+
//	| queue 0 (a Source) |--->| poller: stamp, copy -> stream 0   |---> listeners
//	| queue 1            |--->| poller: stamp, copy -> stream 1   |---> listeners
//	|  ...               |    |                                   |
//	| Account            |--->| Ledger: wire = received + missed  |
//	+--------------------+    +-----------------------------------+
//
// Nothing in here knows the network card; package nic makes a port of an 82599.
// The streams are package stream's, the stamps package clock's, and package
// store writes a stream to files as it is.
package capture
