package pcapfilter

import "strings"

// expressions compile in libpcap and in this package.
func expressions() []string {
	var out []string
	add := func(e ...string) { out = append(out, e...) }
	// Every qualifier before every kind of value that goes with it.
	dirs := []string{"", "src ", "dst ", "src or dst ", "dst or src ", "src and dst ", "dst and src "}
	for _, d := range dirs {
		for _, p := range []string{"", "ip ", "arp ", "rarp "} {
			add(p+d+"host 192.0.2.1", p+d+"net 192.0.2.0/24")
			if d != "" {
				add(p + d + "10.1.2.3")
			}
		}
		for _, p := range []string{"", "ip6 "} {
			add(p+d+"host 2001:db8::1", p+d+"net 2001:db8::/32")
		}
		for _, p := range []string{"", "tcp ", "udp ", "sctp "} {
			add(p+d+"port 80", p+d+"portrange 53-443")
		}
		add("ether " + d + "host 02:00:5e:10:00:01")
	}
	for _, p := range strings.Fields(`ip ip6 arp rarp tcp udp sctp icmp icmp6 igmp igrp pim vrrp carp ah esp
		atalk aarp decnet lat sca moprc mopdl iso esis es-is isis is-is clnp l1 l2 iih lsp snp csnp psnp
		stp ipx netbeui pppoed llc`) {
		add(p, "not "+p, "vlan and "+p, "(ether host 00:1b:21:3c:9d:f8 or "+p+") and greater 60")
	}
	for _, p := range strings.Fields(`ip ip6 arp rarp tcp udp sctp icmp igmp icmp6 ether`) {
		add(p+"[0] = 8", p+"[1:2] & 0xfff0 != 0x10", p+"[4:4] > 70000", p+"[len - 60] = 0")
	}
	for _, n := range []string{"0", "6", "17", "44", "47", "132", "255"} {
		add("proto "+n, "ip proto "+n, "ip6 proto "+n)
	}
	for _, n := range []string{"0x800", "0x806", "0x86dd", "0x8100", "0x88cc", "66", "224", "240", "254", "6", "2", "1500", "1501", "0x809b", "0x80f3", "0x8137"} {
		add("ether proto "+n, "not ether proto "+n, "vlan and ether proto "+n)
	}
	for _, w := range strings.Fields(`i s u rr rnr rej ui ua disc dm sabme test xid frmr`) {
		add("llc " + w)
	}
	for _, s := range []string{"vlan", "vlan 5", "vlan 100", "vlan (12)", "mpls", "mpls 1024", "mpls 100000", "pppoes", "pppoes 7",
		"vlan and vlan", "vlan 100 and vlan 5", "vlan and vlan and vlan 300", "mpls and mpls", "mpls 100000 and mpls 1024", "mpls and mpls and mpls",
		"vlan and mpls", "vlan and pppoes", "pppoes and mpls", "not vlan", "not mpls", "vlan 5 or vlan 12"} {
		add(s, s+" and ip", s+" and tcp port 80", s+" and not host 192.0.2.1", s+" and ip6", s+" and ip[9] = 6", s+" and tcp[13] & 2 != 0", s+" and udp portrange 50-60",
			s+" and ether[0] = 0", "ip or ("+s+") or tcp", "("+s+" and port 53) or port 53")
	}
	for _, p := range []string{"", "ip ", "ip6 "} {
		for _, n := range []string{"6", "17", "44", "51", "58", "59", "60", "0", `\udp`, "ospf"} {
			add(p+"protochain "+n, "not "+p+"protochain "+n, "vlan and "+p+"protochain "+n, p+"protochain "+n+" or 17", p+"protochain "+n+" and greater 70")
		}
	}
	for _, d := range dirs {
		add("decnet "+d+"host 10.15", "decnet "+d+"host 63.1023", "decnet "+d+"host 10255", "vlan and decnet "+d+"host 10.15")
	}
	for i, s := range []string{"geneve", "geneve 7", "geneve 0xabcdef", "vlan and geneve", "pppoes and geneve", "geneve and vlan", "geneve and mpls", "geneve and pppoes",
		"geneve and geneve"} {
		add(s)
		for j, e := range []string{"ip", "ip6", "arp", "tcp", "tcp port 80", "udp port 53", "portrange 50-90", "host 192.0.2.1", "src net 10.0.0.0/8", "host 2001:db8::1",
			"not tcp", "not (tcp or ip6)", "ip[8] = 64", "ip[ip[0] & 0xf] = 0", "ip[-2:2] = 0x800", "tcp[13] & 2 != 0", "tcp[ip[0] - 64] = 0", "ip6[6] = 17",
			"ether[12:2] = 0x800", "ether[0 - 1] = 0", "len > 100", "ether proto 0x88cc", "icmp6[0] = 128",
			"llc", "iso", "stp"} {
			if i > 0 && (i+j)%3 != 0 {
				continue
			}
			link := strings.Contains("arp llc iso stp", e) || strings.HasPrefix(e, "ether proto")
			if !link || !strings.Contains(s, "mpls") && !(strings.HasSuffix(s, "pppoes") && e == "llc") {
				add(s + " and " + e)
			}
		}
		if !strings.Contains(s, "pppoes") || strings.HasPrefix(s, "pppoes") {
			add(s+" and ether host 02:00:5e:10:00:01", s+" and broadcast", s+" and ether multicast", s+" and byte 0 = 0", s+" and byte 0 < 5 and tcp")
		}
	}
	add("tcp or (udp and geneve)")
	add(corner...)
	return out
}

// corner are common expressions and corner cases of the grammar.
var corner = lines(`
	port 53 or 80
	tcp port 80 or 443
	host 192.0.2.1 or 198.51.100.2
	host 192.0.2.1 or 198.51.100.2 and tcp
	host 192.0.2.1 and (198.51.100.2 or 10.1.2.3)
	host (192.0.2.1 or 10.1.2.3)
	host (not 192.0.2.1 or 10.1.2.3)
	host not 192.0.2.1
	port (80 or (443 or 22))
	port ((80) or 443)
	port not (80 or 443)
	port (80)
	port ((80))
	(port 80) or port (81)
	port 80 or (host 192.0.2.1) or 53
	port 80 or (host 192.0.2.1 or 10.1.2.3) or 53
	not port 80 or 53
	not (port 80 or 53) and udp
	not not tcp
	!tcp
	! ! udp
	!(tcp or udp)
	tcp and !port 80
	tcp && port 80 || udp && port 53
	tcp or udp and port 53
	tcp and udp or port 53
	not tcp and udp
	not tcp or udp
	tcp port 80 and host 192.0.2.1 or 10.1.2.3
	src host 192.0.2.1 and dst port 80
	src 192.0.2.1 or 10.1.2.3
	src net 10 or 192.0.2
	net 10
	net 192.0.2
	net 192.0
	net 0
	net 1
	net 0.0.0.0/0
	src net 0.0.0.0/0
	net ::/0
	not net ::/0
	net 192.0.2.0 mask 255.255.255.0
	net 10.0.0.0 mask 255.0.0.0
	net 10.1 mask 255.255
	net 192.0.2.0 mask 255.0.255.0
	net 10.0/8
	net 192.0.2.1/32
	host 192.0.2
	host 10
	host 3221225985
	host 010.1.2.3
	host ::
	net ::
	llc UI
	llc Rr or llc RNR
	net 2001:db8::/33
	net 2001:db8::1/128
	net fe80::/10
	host ::ffff:192.0.2.1
	ip6 host 2001:db8::2 and tcp
	host 2001:db8:0:0:0:0:0:2
	ether host 00:1b:21:3c:9d:f8 or 02:00:5e:10:00:01
	ether src 2:0:5e:10:0:1
	ether dst 00-1b-21-3c-9d-f8
	ether host 001b.213c.9df8
	ether host 001b213c9df8
	ether host 00.1b.21.3c.9d.f8
	fddi host 00:1b:21:3c:9d:f8
	link[0] = 0
	wlan[12:2] = 0x800
	broadcast
	ether broadcast
	ip broadcast
	multicast
	ether multicast
	ip multicast
	ip6 multicast
	not broadcast and not multicast
	less 100
	greater 100
	less 0
	greater 0
	len > 100
	length <= 60
	len = 60 or len == 100
	len - 14 > ip[2:2]
	5 < len
	60 >= len
	60 = len
	60 > ip[8]
	1 = 1
	not 1 = 2
	1 = 1 and tcp
	(1 = 1)
	byte 12 = 8
	byte 13 > 5
	byte 0 < 2
	tcp[tcpflags] & (tcp-syn|tcp-fin) != 0
	tcp[tcpflags] & tcp-syn != 0 and tcp[tcpflags] & tcp-ack == 0
	tcp[tcpflags] == tcp-syn or tcp[tcpflags] = 0x18
	tcp[13] = 18
	tcp[13] & 7 != 0
	tcp[0:2] = 80 or tcp[2:2] = 80
	icmp[icmptype] = icmp-echo or icmp[icmptype] = icmp-echoreply
	icmp[icmptype] != icmp-echo and icmp[icmptype] != icmp-echoreply
	icmp[icmpcode] = 4
	icmp6[icmp6type] = icmp6-echo
	icmp6[icmp6type] == icmp6-neighborsolicit or icmp6[0] = icmp6-neighboradvert
	icmp6 and ip6[40] = 128
	ip[6:2] & 0x1fff = 0
	ip[6:2] & 0x3fff != 0
	ip[0] & 0xf != 5
	ip[0] & 0xf > 5
	ip[8] < 64
	ip[2:2] > 576
	ip[16] >= 224
	ip[12:4] = 0xc0000201
	ip[12:4] = 3221225985
	ether[0] & 1 = 0 and ip[16] >= 224
	ether[0] & 1 != 0
	ether[12:2] = 0x0800
	ether[12:2] > 1500
	ether[6:4] = 0x02005e10 and ether[10:2] = 0x0001
	((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0
	tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)
	tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420
	port 80 and tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420
	udp[8:2] & 0x8000 = 0
	udp[4:2] = 16
	ip[ip[0] & 0xf] = 0
	ip[tcp[12]] = 0
	tcp[ip[0] - 64] = 1
	tcp[ip6[0]] = 1
	ip6[6] = 6
	ip6[ip[0]] = 1
	ip6[4:2] > 20
	arp[6:2] = 1
	arp[6:2] = 2 or rarp
	arp and ether broadcast
	ip[0] + tcp[0] = 3
	tcp[0] + ip[0] = 69
	ip[-2:2] = 0x0800
	ether[0 - 1] = 0
	tcp[-1] = 0
	tcp[-10:2] = 1
	ip[4294967294:2] = 2048
	ether[4294967290 + ip[8]] = 0
	ether[ip[8] + 4294967290] = 0
	tcp[4294967290 + ip[9]] = 80
	tcp[ip[9] - 6] = 156
	ip[4294967290 + ip[8]] = 0
	ip[4294967290 + (ip[8] * 2)] = 0
	ether[2 + ip[8] / 2] = 10
	ip[2:2] * 2 > 100
	ip[2:2] / 4 = 15
	ip[2:2] % 7 = 3
	ip[8] ^ 64 = 0
	ip[8] | 1 = 65
	ip[0] >> 4 = 4
	ip[0] << 28 = 0x50000000
	1 << ip[8] = 0
	ip[2:2] / ip[1] = 0
	ip[2:2] % (ip[8] - 64) = 0
	not ip[2:2] / ip[1] = 0
	ip[2] + 1 * 2 = 2
	ip[2] + 4 / 2 % 3 = 2
	ip[2] % 3 + 1 = 0
	ip[2] * 2 % 3 = 0
	ip[2] ^ 3 & 1 = 1
	ip[2] & 1 ^ 3 = 1
	ip[2] | 1 & 2 + 3 << 1 = 0
	ip[2] - 1 - 1 = 58
	ip[2] / 2 / 2 = 0
	- ip[2] + 60 = 0
	-ip[8] = 4294967232
	- - ip[8] = 64
	-1 = 0xffffffff
	ip[8] = 0100
	ip[8] = 0x40
	ip[8] = 0X40
	(ip[8]) = (64)
	(ip[8] + 1) = 65
	((ip[8]) + (1)) = (65)
	((80)) < ip[2:2]
	(ip[8] = 64)
	((ip[8] = 64) or (tcp))
	not ip[8] = 64
	ip[8] * 0 = 0
	ip[5000] * 0 = 0
	ip[5000] & 0 = 0
	0 / ip[1] = 0
	0 << ip[1] = 0
	0 + ip[1] = 0
	ip[1] - 0 = 0
	ether[2000] = 1
	not ether[2000] = 1
	not ether[60] = 1
	tcp or ether[2000] = 1
	ether[2000] = 1 or tcp
	ether[2000] = 1 and tcp
	not (ether[2000] = 1 and tcp)
	udp[2000] = 1
	not udp[2000] = 1
	ether[4294967295] = 1
	ether[4294967292:4] = 1 or tcp
	ether proto \ip
	ether proto \arp
	ether proto \ip6 or \arp
	ether proto \iso
	ether proto \stp or ether proto \ipx
	ether proto \netbeui
	ether proto \loopback
	ether proto \decnet or \lat
	ip proto \tcp
	ip proto \udp or \icmp
	ip6 proto \tcp
	proto \icmp or \sctp
	ip proto ospf
	ip proto GRE
	proto gre
	iso proto \esis
	iso proto \isis
	iso proto \clnp
	iso proto 131
	isis proto 15
	proto 300
	not ip proto 300
	ip proto 6 or 17
	proto (6 or 17)
	vlan and (vlan 5 or ip)
	- - - - - - - - - - - - - - - - - - - - - - ip[8] = 64
	-(1 - ip[8]) = 63
	-tcp[0:2] / 2 > 100
	- ip[8] % 7 = 3
	vlan or host 192.0.2.1
	vlan or not host 192.0.2.1
	(vlan and ip) or ip
	host 192.0.2.1 or (vlan and host 192.0.2.1) or (vlan and host 10.1.2.3)
	vlan and arp
	vlan and net 10.0.0.0/8 and not port 22
	mpls and net 10.0.0.0/8
	mpls and host 2001:db8::1
	mpls or port 53
	pppoes and ether[0] = 0
	pppoes and ether proto 0xc021
	pppoes and stp
	pppoes and ipx
	pppoes and iso
	pppoes and isis
	pppoes 7 and tcp port 80
	pppoes and port 53
	pppoes and pppoes
	pppoes and arp
	pppoes and host 192.0.2.1
	ip and not (tcp or udp or icmp)
	ip proto \tcp and not port 22
	not (src net 10.0.0.0/8 and dst port 80)
	tcp port 80 or (udp port 53 and not host 192.0.2.1)
	(tcp or udp) and (port 80 or port 443 or port 53) and not net 10.0.0.0/8
	port http
	port domain
	port https or ssh
	tcp port http or https
	udp port ntp or domain or snmp
	udp port bootps or bootpc
	tcp port syslog
	port syslog
	portrange ssh-http
	portrange domain-snmp
	portrange 80-http
	tcp portrange ftp-smtp
	portrange 443-53
	portrange 80
	portrange 80-80
	portrange 0-65535
	port 0
	port 65535
	port 0x50
	src port 80 or dst port 53
	udp src portrange 50-60 and dst port 53
	tcp[2:2] = 80 and tcp[0:2] > 1023
	ip host 192.0.2.1 and not arp
	arp host 192.0.2.1
	rarp src host 192.0.2.1
	arp net 10.0.0.0/8
`)

// refused are expressions that libpcap refuses, too.
var refused = lines(`
	foo
	host
	and
	tcp and
	tcp or or udp
	or tcp
	not
	(tcp
	tcp)
	()
	tcp udp
	tcp 80
	192.0.2.1
	80
	2001:db8::1
	00:1b:21:3c:9d:f8
	host 192.0.2.256
	host 192.0.2.1.1
	host 192.0.2.1/24
	net 10/8
	net 10.0.0.1/8
	net 10.0.0.0/33
	net 10.0.0.0 mask 10.1.1.1.1
	net 10.0.0.1 mask 255.0.0.0
	net 2001:db8::1/64
	net 2001:db8::/129
	host 2001:db8::1/64
	host 1::2::3
	ip6 host 192.0.2.1
	ip host 2001:db8::1
	tcp host 192.0.2.1
	tcp net 10.0.0.0/8
	udp host 2001:db8::1
	ether host 192.0.2.1
	ether host 10
	ether net 10
	ether port 80
	ip port 80
	icmp port 80
	port 65536
	portrange 80-65536
	port 192.0.2.1
	port 2001:db8::1
	portrange 192.0.2.1
	proto 192.0.2.1
	port 00:1b:21:3c:9d:f8
	host 00:1b:21:3c:9d:f8
	ether host 00:1b:21:3c:9d
	ether host 00:1b:21:3c:9d:f8:aa
	port nosuchservice
	tcp port ntp
	udp port ssh
	portrange ssh
	portrange nosuch-services
	ip proto nosuch
	ip proto tcp
	ether proto ip
	ether proto \nosuch
	tcp proto 6
	src proto 6
	dst proto \tcp
	src tcp
	host src 192.0.2.1
	net port 80
	port host 80
	ip broadcast 5
	tcp broadcast
	ip6 broadcast
	arp multicast
	vlan 4096
	vlan foo
	mpls 1048576
	pppoes 65536
	mpls and vlan
	mpls and arp
	pppoes and vlan
	pppoes and llc
	pppoes and broadcast
	pppoes and ether host 00:1b:21:3c:9d:f8
	less
	less foo
	less (5)
	greater -1
	len
	len >
	len > 5 > 3
	1 +
	1 + 2
	ip[0]
	ip[0
	ip[]
	ip[0:3] = 1
	ip[0:0] = 1
	ip[0:8] = 1
	ip[0:len] = 1
	tcp[13] & 2
	tcp[13] & (tcp-syn != 0
	iso[0] = 1
	l1[0] = 1
	ah[0] = 1
	1 / 0 = 1
	ip[0] / 0 = 1
	ip[0] % 0 = 1
	ip[0] / (1 - 1) = 1
	ip[0] << 32 = 0
	ip[0] >> 40 = 0
	ip[8] = 08
	ip[8] = 4294967296
	ip[8] = 0x100000000
	port ((80 or 443) or 22)
	port (80 or tcp)
	port (tcp)
	(80 or 443)
	(port 80) or 443
	port 80 + 1
	vlan or 5
	tcp and 80
	ip or 192.0.2.1
	ether
	link
	ether = 1
	src
	dst or
	src or src host 192.0.2.1
	src host
	host and
	gateway 192.0.2.1
	host 192.0.2.1 mask 255.255.255.0
	type mgt
	radio
	radio[0] = 1
	ra 00:1b:21:3c:9d:f8
	lane
	vpi 5
	ifname eth0
	fisu
	$ff
	ether host $ff
	tcp; udp
	tcp, udp
	"tcp"
	{tcp}
	tcp # comment
	llc foo
	llc 5
	iso proto \tcp
	arp proto 6
	esis proto 5
	byte 5
	byte 5 ! 3
	byte foo = 1
	tcp[0] == == 1
	ip[0] = 1 2
	host 192.0.2.1 or
	ip proto
	net
	net mask 255.0.0.0
	port -1
	tcp & udp
	TCP
	Host 192.0.2.1
	ip[1 = 2
	and tcp
	ip and host
	portrange 80-90-100-foo-
	1 + 2 * (3 + 4 * (5 + 6 * (7 + 8 * (9 + 10 * (11 + 12 * (13 + 14 * (15 + 16 * (17 + 18 * (19 + 20))))))))) = 1
`)

// stricter are expressions that libpcap compiles and this package refuses.
var stricter = lines(`
	protochain 256
	decnet host 64.1
	decnet net 10.0/16
	geneve or tcp
	not geneve and tcp
	(geneve and tcp) or udp
	tcp or (udp or geneve) and ip
	geneve and geneve and geneve
	portrange 80-90abc
	inbound
	outbound
	ifindex 1
`)

func lines(text string) []string {
	var out []string
	for _, l := range strings.Split(text, "\n") {
		if l = strings.TrimSpace(l); l != "" {
			out = append(out, l)
		}
	}
	return out
}
