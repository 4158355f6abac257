package rules

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Rules are an ordered list of rules. They are immutable.
type Rules struct {
	rules  []rule
	gates  []gate
	levels []level
	rest   action // for frames that no rule matches
}

// Drop is what Apply leaves in keep for a frame that is not to be stored.
const Drop = 0

// rule is a match and what to do with the frames that match.
type rule struct {
	match []primitive // all of them
	after []primitive // those that the gate does not decide
	do    action
}

// action is the bytes to keep of a frame, or one of the following.
type action uint32

const (
	drop    action = 0
	headers action = math.MaxUint32 - 1
	all     action = math.MaxUint32

	mostBytes = 65535
)

func (a action) String() string {
	switch a {
	case drop:
		return "drop"
	case headers:
		return "headers"
	case all:
		return "all"
	}
	return strconv.FormatUint(uint64(a), 10)
}

type direction uint8

const (
	either direction = iota
	source
	destination
)

func (d direction) String() string { return [...]string{"", "src ", "dst "}[d] }

type kind uint8

const (
	isIP kind = iota
	isIP6
	isARP
	isTCP
	isUDP
	isSCTP
	isICMP
	isICMP6
	isProto
	isHost
	isNet
	isPort
	isVLAN
	isMPLS
	isEtherHost
	isEtherProto
)

var words = [...]string{
	isIP: "ip", isIP6: "ip6", isARP: "arp", isTCP: "tcp", isUDP: "udp", isSCTP: "sctp", isICMP: "icmp", isICMP6: "icmp6",
	isProto: "proto", isHost: "host", isNet: "net", isPort: "port", isVLAN: "vlan", isMPLS: "mpls",
	isEtherHost: "ether", isEtherProto: "ether proto",
}

// primitive is one test of a match.
type primitive struct {
	kind kind
	not  bool
	dir  direction
	any  bool   // vlan and mpls without a number
	link uint16 // offset of the type field it looks at
	load uint16 // offset of what follows that type
	deep bool   // behind an MPLS label, where there is no type field

	lo, hi uint32 // number; ports: range
	mac    uint64
	net    netip.Prefix
	// The addresses of net: IPv4 in the last word.
	addr, mask [4]uint32
}

func (p *primitive) String() string {
	not := ""
	if p.not {
		not = "not "
	}
	return not + p.text()
}

func (p *primitive) text() string {
	word := words[p.kind]
	switch p.kind {
	case isProto:
		return fmt.Sprintf("proto %d", p.lo)
	case isHost:
		return p.dir.String() + "host " + p.net.Addr().String()
	case isNet:
		return p.dir.String() + "net " + p.net.String()
	case isPort:
		if p.lo != p.hi {
			return fmt.Sprintf("%vportrange %d-%d", p.dir, p.lo, p.hi)
		}
		return fmt.Sprintf("%vport %d", p.dir, p.lo)
	case isVLAN, isMPLS:
		if p.any {
			return word
		}
		return fmt.Sprintf("%s %d", word, p.lo)
	case isEtherHost:
		mac := net.HardwareAddr{byte(p.mac >> 40), byte(p.mac >> 32), byte(p.mac >> 24), byte(p.mac >> 16), byte(p.mac >> 8), byte(p.mac)}
		return "ether " + p.dir.String() + "host " + mac.String()
	case isEtherProto:
		return fmt.Sprintf("ether proto 0x%x", p.lo)
	}
	return word
}

func (r *rule) String() string {
	var b strings.Builder
	for i := range r.match {
		b.WriteString([]string{"(", " and "}[min(i, 1)])
		b.WriteString(r.match[i].String())
	}
	return b.String() + ") " + r.do.String()
}

// Len is the number of rules that have a match.
func (r *Rules) Len() int { return len(r.rules) }

// Rule is the text of rule i, 0 <= i <= Len: the last is what becomes of frames
// that no rule matches.
func (r *Rules) Rule(i int) string {
	if i == len(r.rules) {
		return r.rest.String()
	}
	return r.rules[i].String()
}

// String is the rules on one line. Parse makes the same rules of it.
func (r *Rules) String() string {
	parts := make([]string, 0, r.Len()+1)
	for i := range r.Len() + 1 {
		parts = append(parts, r.Rule(i))
	}
	return strings.Join(parts, "; ")
}
