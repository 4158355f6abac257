// Package pcapfront holds the tests that run programs of Debian, unmodified, as four
// instances, each with a share of the flows, and nothing else.
//
//	mix or pcap file ─┬─► one instance ─► output ─────────────────┐
//	                  └─► share by flow ─► 4 instances ─► merged ─┴─ must agree
package pcapfront
