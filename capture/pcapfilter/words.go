package pcapfilter

import "strings"

// keywords are the reserved words of pcap-filter(7), each with its canonical
// form. A name that is one of them is written with a backslash: ether proto \ip.
var keywords = wordTable(`
	dst src host net mask port portrange proto protochain gateway
	less greater byte broadcast multicast inbound outbound ifindex
	vlan mpls pppoed pppoes geneve vxlan llc inner
	and or not=!  len length=len
	link ether=link ppp=link slip=link fddi=link tr=link wlan=link
	arp rarp ip ip6 sctp tcp udp icmp icmp6 igmp igrp pim vrrp carp ah esp radio
	atalk aarp decnet lat sca moprc mopdl stp ipx netbeui
	iso esis es-is=esis isis is-is=isis clnp l1 l2 iih lsp snp csnp psnp
	type subtype dir direction=dir ra ta
	addr1 address1=addr1 addr2 address2=addr2 addr3 address3=addr3 addr4 address4=addr4
	lane metac bcc oam oamf4 oamf4ec oamf4sc sc ilmic vpi vci connectmsg metaconnect
	on=ifname ifname rset ruleset=rset rnr rulenum=rnr srnr subrulenum=srnr reason action
	fisu lssu lsu=lssu msu hfisu hlssu hmsu sio opc dpc sls hsio hopc hdpc hsls`)

func wordTable(text string) map[string]string {
	out := map[string]string{}
	for _, w := range strings.Fields(text) {
		word, canonical, alias := strings.Cut(w, "=")
		if !alias {
			canonical = word
		}
		out[word] = canonical
	}
	return out
}

// foreign are the keywords for what no Ethernet frame has, with their origin.
var foreign = func() map[string]string {
	out := map[string]string{}
	for what, words := range map[string]string{
		"802.11 frames":                    "type subtype dir ra ta addr1 addr2 addr3 addr4",
		"a radio header":                   "radio",
		"ATM":                              "lane metac bcc oam oamf4 oamf4ec oamf4sc sc ilmic vpi vci connectmsg metaconnect",
		"the packet filter of OpenBSD":     "ifname rset rnr srnr reason action",
		"SS7":                              "fisu lssu msu hfisu hlssu hmsu sio opc dpc sls hsio hopc hdpc hsls",
		"a live capture on a Linux device": "inbound outbound ifindex",
	} {
		for _, w := range strings.Fields(words) {
			out[w] = what
		}
	}
	return out
}()

// constants are the names of pcap-filter(7) for offsets and values of fields.
var constants = map[string]uint32{
	"icmptype": 0, "icmpcode": 1,
	"icmp-echoreply": 0, "icmp-unreach": 3, "icmp-sourcequench": 4, "icmp-redirect": 5,
	"icmp-echo": 8, "icmp-routeradvert": 9, "icmp-routersolicit": 10, "icmp-timxceed": 11,
	"icmp-paramprob": 12, "icmp-tstamp": 13, "icmp-tstampreply": 14, "icmp-ireq": 15,
	"icmp-ireqreply": 16, "icmp-maskreq": 17, "icmp-maskreply": 18,

	"icmp6type": 0, "icmp6code": 1,
	"icmp6-destinationunreach": 1, "icmp6-packettoobig": 2, "icmp6-timeexceeded": 3,
	"icmp6-parameterproblem": 4, "icmp6-echo": 128, "icmp6-echoreply": 129,
	"icmp6-multicastlistenerquery": 130, "icmp6-multicastlistenerreportv1": 131,
	"icmp6-multicastlistenerdone": 132, "icmp6-routersolicit": 133, "icmp6-routeradvert": 134,
	"icmp6-neighborsolicit": 135, "icmp6-neighboradvert": 136, "icmp6-redirect": 137,
	"icmp6-routerrenum": 138, "icmp6-nodeinformationquery": 139,
	"icmp6-nodeinformationresponse": 140, "icmp6-ineighbordiscoverysolicit": 141,
	"icmp6-ineighbordiscoveryadvert": 142, "icmp6-multicastlistenerreportv2": 143,
	"icmp6-homeagentdiscoveryrequest": 144, "icmp6-homeagentdiscoveryreply": 145,
	"icmp6-mobileprefixsolicit": 146, "icmp6-mobileprefixadvert": 147,
	"icmp6-certpathsolicit": 148, "icmp6-certpathadvert": 149,
	"icmp6-multicastrouteradvert": 151, "icmp6-multicastroutersolicit": 152,
	"icmp6-multicastrouterterm": 153,

	"tcpflags": 13, "tcp-fin": 0x01, "tcp-syn": 0x02, "tcp-rst": 0x04, "tcp-push": 0x08,
	"tcp-ack": 0x10, "tcp-urg": 0x20, "tcp-ece": 0x40, "tcp-cwr": 0x80,
}
