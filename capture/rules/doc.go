// Package rules decides at the poller, before the copy, how much of each frame is
// kept: all, its headers, so many bytes, or nothing.
//
// In go frames as the device describes them and an ordered list of rules, out come
// bytes to keep and what each rule has met:
//
//	(udp and port 53) all; (net 10.0.0.0/8 and tcp) 96; (vlan 12) drop; 128
//
// Rules are separated by ; or the end of a line, # begins a comment. The first rule
// that matches decides. A last rule without a match is for all other frames; where
// there is none they are kept whole.
//
// # Match
//
// Primitives joined by "and", each with "not" before it or without, in the words of
// pcap-filter(7) and with its meaning:
//
//	ip  ip6  arp  tcp  udp  sctp  icmp  icmp6     proto N
//	[src|dst] host A     [src|dst] net A/LEN      A numeric, IPv4 or IPv6
//	[src|dst] port N     [src|dst] portrange N-M  TCP, UDP, SCTP; not in later fragments
//	vlan [N]     mpls [N]                         what follows looks behind that header
//	ether [src|dst] host MAC     ether proto N
//
// There is no "or", and there are no parentheses within: write two rules. As in
// libpcap
//
//   - host and net with IPv4 also look into ARP and RARP;
//   - tags hide what is behind them: "tcp" sees untagged frames, "vlan and tcp" those
//     with one tag; "not vlan" moves what follows, too, so write it last;
//   - IPv6 extension headers are not walked: port wants TCP, UDP or SCTP right behind
//     the header, tcp and its like look behind one fragment header;
//   - a frame that ends before a field that has to be looked at does not match, with
//     "not" neither.
//
// A tag that the device took out of the frame (ring.Stripped) is matched from the
// descriptor as if it were there.
//
// # Action
//
//	drop     nothing is stored; counted as filtered
//	all      the whole frame
//	headers  up to the end of TCP's (with options), UDP's, SCTP's or ICMP's header, or
//	         of the last header that is understood; ARP whole
//	N        at most N bytes, 1 to 65535
//
// Headers are looked for in the first 256 bytes of a frame, in however many buffers
// they lie. Rules are immutable; any number of goroutines may use them.
package rules
