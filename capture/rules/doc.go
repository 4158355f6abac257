// Package rules decides at the poller, before the copy, how much of each frame is
// kept: all, its headers, so many bytes, or nothing.
//
//	text ─ Parse ─▶ Rules ─ NewMatcher ─▶ Matcher       (a poller's: counts, scratch memory)
//	                                         │
//	frames of a batch ─────────────────▶ Apply ─▶ bytes to keep of each frame
//
// A text is an ordered list of rules, each an expression and an action:
//
//	(udp and port 53) all; (net 10.0.0.0/8 and (tcp or sctp)) 96; (vlan 12) drop; 128
//
// Rules are separated by ; or the end of a line, # begins a comment. The first rule
// that matches decides. A last rule without an expression is for all other frames;
// without one they are kept whole. "all" alone keeps every frame, as "none" does, the
// word for no rules. An empty text is an error.
//
// # Expressions
//
// An expression is one of tcpdump's, pcap-filter(7), on one line in parentheses.
// Package pcapfilter compiles it and documents what is supported; an expression
// means what it means there, which is what libpcap's unoptimized program does:
//
//   - a frame that ends before a field that is read does not match the expression, not
//     even under "not" or with an "or" behind; the next rules still apply;
//   - host and net with IPv4 also test the addresses in ARP and RARP;
//   - vlan and mpls move what stands to their right, also under "not" and behind
//     "or": write (vlan and ip) or ip in two rules, or ip or (vlan and ip);
//   - ports are read in first fragments, and right behind the header of IPv6;
//   - an expression that no frame can match is an error.
//
// A tag that the device took out of the frame (ring.Stripped) is matched from the
// descriptor as if it were in the frame; len, less and greater count its 4 bytes.
//
// # Actions
//
//	drop     nothing is stored; counted as filtered
//	all      the whole frame
//	headers  up to the end of TCP's (with options), UDP's, SCTP's or ICMP's header, or
//	         of the last header that is understood; ARP whole
//	N        at most N bytes, 1 to 65535
//
// In a frame in several buffers, only the first 256 bytes are searched for headers.
package rules
