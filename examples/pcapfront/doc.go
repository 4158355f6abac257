// Package pcapfront holds the tests that run programs of Debian, unmodified: over the
// libpcap front, alone and as four instances in a group, and as four instances that read
// files with a share of the flows each.
//
//	port ─► shared stream ─► group ─► libpcap front ─► 4 instances ─► merged ─┐
//	     │               └─► libpcap front ─► one instance ─► output ─────────┤
//	     └► listener ─► file ─► system's libpcap ─► one instance ─► output ───┴─ must agree
//
//	mix or pcap file ─┬─► one instance ─► output ─────────────────┐
//	                  └─► share by flow ─► 4 instances ─► merged ─┴─ must agree
package pcapfront
