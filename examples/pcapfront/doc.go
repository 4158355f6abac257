// Package pcapfront holds the tests that run programs of Debian, unmodified: over the
// libpcap front, and as four instances with a share of the flows each.
//
//	port ─► shared stream ─► libpcap front ─► one instance ─► output ─┐
//	     └► listener ─► file ─► system's libpcap ─► one instance ─────┴─ must agree
//
//	mix or pcap file ─┬─► one instance ─► output ─────────────────┐
//	                  └─► share by flow ─► 4 instances ─► merged ─┴─ must agree
package pcapfront
