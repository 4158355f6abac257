// Package capture stores what a network port receives, once, for many readers.
//
//	        Port                              Engine
//	+--------------------+    +---------------------------------------+
//	| queue 0 (a Source) |--->| poller: rules, stamp, copy ─► stream  |---> listeners
//	| queue 1            |--->| poller: rules, stamp, copy ─► stream  |---> listeners
//	|  ...               |    |   └─► sched.Monitor: poll gaps        |---> Config.Logger
//	| Account            |--->| Ledger: wire = received + missed + bad|
//	+--------------------+    +---------------------------------------+
//
// A Port has receive queues, which are polled, and counters of the frames that
// reached it (source.go; package nic implements it with the 82599's driver). Each
// queue has a stream: frames as RAW records with a nanosecond stamp, in memory that
// any number of listeners read at their own pace, also from other processes. At
// the end the Ledger accounts for every frame.
//
// Streams are package stream's, stamps package clock's, rules package rules', the
// table of duplicates package dedup's, threads and poll gaps package sched's.
package capture
