package pcapfilter

import (
	"strconv"
	"strings"

	"github.com/ixcap/ixcap/capture/internal/ether"
)

// Numbers of protocols that only expressions name: types of Ethernet, service access
// points of LLC, protocols of OSI.
const (
	typeIPX    = 0x8137
	typeATalk  = 0x809b
	typeAARP   = 0x80f3
	typeDECnet = 0x6003
	typeLAT    = 0x6004
	typeSCA    = 0x6007
	typeMOPDL  = 0x6001
	typeMOPRC  = 0x6002
	typeXNS    = 0x0600

	sapIP      = 0x06
	sapSTP     = 0x42
	sapSNAP    = 0xaa
	sapIPX     = 0xe0
	sapNetBEUI = 0xf0
	sapISO     = 0xfe

	osiCLNP = 0x81
	osiESIS = 0x82
	osiISIS = 0x83
)

// etherProtos are the names of "ether proto \NAME".
var etherProtos = map[string]uint32{
	"aarp": typeAARP, "arp": ether.TypeARP, "atalk": typeATalk, "decnet": typeDECnet, "ip": ether.TypeIPv4,
	"ip6": ether.TypeIPv6, "lat": typeLAT, "loopback": 0x9000, "mopdl": typeMOPDL, "moprc": typeMOPRC,
	"rarp": ether.TypeRARP, "sca": typeSCA,
	"iso": sapISO, "stp": sapSTP, "ipx": sapIPX, "netbeui": sapNetBEUI,
}

// osiProtos are the names of "iso proto \NAME".
var osiProtos = map[string]uint32{"esis": osiESIS, "isis": osiISIS, "clnp": osiCLNP}

// pppTypes are the protocols of PPP that stand for types of Ethernet (RFC 1661
// and its successors); others keep their number.
var pppTypes = map[uint32]uint32{
	ether.TypeIPv4: 0x0021, ether.TypeIPv6: 0x0057, typeDECnet: 0x0027, typeATalk: 0x0029, typeXNS: 0x0025,
	sapISO: 0x0023, sapSTP: 0x0031, sapIPX: 0x002b,
}

// ipProtos are the names of "ip proto \NAME", IANA's numbers under the names of
// protocols(5). Names count in small and in capital letters.
var ipProtos = numberTable(`
	ip 0 hopopt 0 icmp 1 igmp 2 ggp 3 ipencap 4 ip-encap 4 st 5 tcp 6 egp 8 igp 9 pup 12 udp 17
	hmp 20 xns-idp 22 rdp 27 iso-tp4 29 dccp 33 xtp 36 ddp 37 idpr-cmtp 38 ipv6 41 ipv6-route 43
	ipv6-frag 44 idrp 45 rsvp 46 gre 47 esp 50 ipsec-esp 50 ah 51 ipsec-ah 51 skip 57 ipv6-icmp 58
	ipv6-nonxt 59 ipv6-opts 60 rspf 73 vmtp 81 eigrp 88 ospf 89 ospfigp 89 ax.25 93 ipip 94
	etherip 97 encap 98 pim 103 ipcomp 108 vrrp 112 l2tp 115 isis 124 sctp 132 fc 133
	mobility-header 135 udplite 136 mpls-in-ip 137 manet 138 hip 139 shim6 140 wesp 141 rohc 142
	ethernet 143`)

func numberTable(text string) map[string]uint32 {
	out := map[string]uint32{}
	f := strings.Fields(text)
	for i := 0; i < len(f); i += 2 {
		n, err := strconv.ParseUint(f[i+1], 10, 32)
		if err != nil {
			panic(err)
		}
		out[f[i]], out[strings.ToUpper(f[i])] = uint32(n), uint32(n)
	}
	return out
}

// service is a port that has a name, and the protocol it is registered for;
// anyProto if for TCP and UDP.
type service struct {
	port  uint32
	proto int
}

// anyProto stands for TCP, UDP and SCTP.
const anyProto = -1

// services are the names of ports. They are built in, so that an expression means
// the same on every host; ports and protocols are those of Debian's services(5).
var services = serviceTable(`
	echo 7 discard 9 chargen 19 time 37 tacacs 49 domain 53 kerberos 88 kerberos5 88 krb5 88
	sunrpc 111 portmapper 111 snmp 161 snmp-trap 162 snmptrap 162 ldap 389 svrloc 427 https 443
	kpasswd 464 rtsp 554 ldp 646 ldaps 636 domain-s 853 openvpn 1194 radius 1812 radius-acct 1813
	nfs 2049 sip 5060 sip-tls 5061
	ftp-data 20/tcp ftp 21/tcp ssh 22/tcp telnet 23/tcp smtp 25/tcp mail 25/tcp whois 43/tcp
	gopher 70/tcp finger 79/tcp http 80/tcp www 80/tcp pop3 110/tcp pop-3 110/tcp auth 113/tcp
	ident 113/tcp nntp 119/tcp epmap 135/tcp netbios-ssn 139/tcp imap2 143/tcp imap 143/tcp
	bgp 179/tcp microsoft-ds 445/tcp submissions 465/tcp smtps 465/tcp submission 587/tcp exec 512/tcp
	login 513/tcp shell 514/tcp printer 515/tcp afpovertcp 548/tcp nntps 563/tcp ipp 631/tcp
	rsync 873/tcp ftps-data 989/tcp ftps 990/tcp telnets 992/tcp imaps 993/tcp pop3s 995/tcp
	socks 1080/tcp ms-sql-s 1433/tcp iscsi-target 3260/tcp mysql 3306/tcp ms-wbt-server 3389/tcp
	svn 3690/tcp xmpp-client 5222/tcp xmpp-server 5269/tcp postgresql 5432/tcp amqps 5671/tcp
	amqp 5672/tcp x11 6000/tcp redis 6379/tcp syslog-tls 6514/tcp ircd 6667/tcp http-alt 8080/tcp
	git 9418/tcp
	bootps 67/udp bootpc 68/udp tftp 69/udp ntp 123/udp netbios-ns 137/udp netbios-dgm 138/udp
	xdmcp 177/udp ptp-event 319/udp ptp-general 320/udp isakmp 500/udp syslog 514/udp route 520/udp
	router 520/udp dhcpv6-client 546/udp dhcpv6-server 547/udp l2tp 1701/udp ipsec-nat-t 4500/udp
	mdns 5353/udp babel 6696/udp`)

func serviceTable(text string) map[string]service {
	protos := map[string]int{"": anyProto, "tcp": ether.ProtoTCP, "udp": ether.ProtoUDP}
	out := map[string]service{}
	f := strings.Fields(text)
	for i := 0; i < len(f); i += 2 {
		number, proto, _ := strings.Cut(f[i+1], "/")
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			panic(err)
		}
		out[f[i]] = service{uint32(n), protos[proto]}
	}
	// TCP's syslog has the name shell, and services(5) lists it as syslog, too.
	out["syslog"] = service{514, anyProto}
	return out
}
