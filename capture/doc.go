// Package capture stores what a network port receives, once, for many readers.
//
// In goes a Port: receive queues to be polled, and the port's own account of
// what reached it. Out come streams, one for each queue: frames as RAW records
// with a nanosecond stamp, in memory that any number of listeners read at their
// own pace, and at the end a Ledger in which every frame is accounted for.
//
//	        Port                              Engine
//	+--------------------+    +-----------------------------------+
//	| queue 0 (a Source) |--->| poller: choose, stamp, copy -> 0  |---> listeners
//	| queue 1            |--->| poller: choose, stamp, copy -> 1  |---> listeners
//	|  ...               |    |                                   |
//	| Account            |--->| Ledger: wire = received + missed  |
//	+--------------------+    +-----------------------------------+
//
// Nothing in here knows the network card; package nic makes a port of an 82599.
// The streams are package stream's, which other processes can attach to, the
// stamps package clock's, rules package filter's, the table of duplicates package
// dedup's; package store writes a stream to files as it is, and package control
// lets others look at an engine and change what may change while it runs.
package capture
