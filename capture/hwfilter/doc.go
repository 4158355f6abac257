// Package hwfilter translates pcap expressions into the filters of an Intel 82599,
// which drops frames or selects their queue before they reach host memory.
//
//	text ─ Parse ─▶ Rules ─ Plan ─▶ Plan: filters of the chip ─▶ driver.Port.SetFilters
//	                                      what is left to software, and why
//
// A text is an ordered list of rules, each an expression of pcap-filter(7) in
// parentheses and an action, separated by ; or the end of a line:
//
//	(udp and dst port 53) drop; (host 192.0.2.1) queue 2
//
// The chip compares host, net, port, proto, vlan N and ether proto, joined by "and" and
// "or"; "tcp[tcpflags] & tcp-syn != 0" alone is its SYN filter. It has no "not", no
// lengths and no bytes of the packet. Of each rule Plan puts into the chip what the chip
// can compare, which is part of what the expression matches:
//
//   - A frame that a "drop" rule matches and the chip does not is left to the rules of the
//     capture (package rules), so that none is stored.
//   - A frame that a "queue" rule matches and the chip does not goes to the queue that RSS
//     selects, unless a filter behind it matches.
//
// The chip matches more than pcap-filter(7) in three cases: behind one 802.1Q tag, where
// an expression without vlan matches untagged frames only; transports behind extension
// headers of IPv6; and SYNs over IPv6, of which tcp[tcpflags] is not.
package hwfilter
