package xdp

import (
	"fmt"
	"strconv"
	"strings"
)

// maxMatches bounds the length of the program.
const maxMatches = 32

// Field is what a Match compares.
type Field string

// Fields of a Match.
const (
	VLAN      Field = "vlan"  // VLAN identifier of the outermost tag
	EtherType Field = "ether" // EtherType behind at most two tags
	TCP       Field = "tcp"   // source or destination port, IPv4 or IPv6
	UDP       Field = "udp"
)

// Match is a condition on a frame that the XDP program can test. Ports are found in
// IPv4 (not in later fragments) and in IPv6 without extension headers.
type Match struct {
	Field Field
	Value uint16
}

// ParseMatch reads a match: vlan:ID, ether:TYPE, tcp:PORT or udp:PORT.
func ParseMatch(s string) (Match, error) {
	field, value, _ := strings.Cut(s, ":")
	m := Match{Field: Field(field)}
	n, err := strconv.ParseUint(value, 0, 16)
	if err != nil {
		return m, fmt.Errorf("match %q: want vlan:ID, ether:TYPE, tcp:PORT or udp:PORT, as in tcp:443", s)
	}
	m.Value = uint16(n)
	return m, m.check()
}

// String returns the form that ParseMatch reads.
func (m Match) String() string {
	if m.Field == EtherType {
		return fmt.Sprintf("%s:%#04x", m.Field, m.Value)
	}
	return fmt.Sprintf("%s:%d", m.Field, m.Value)
}

func (m Match) check() error {
	switch m.Field {
	case VLAN:
		if m.Value > 4095 {
			return fmt.Errorf("match %v: a VLAN identifier is 0 to 4095", m)
		}
	case EtherType, TCP, UDP:
	default:
		return fmt.Errorf("match %v: no such field. There are vlan, ether, tcp, udp", m)
	}
	return nil
}

func parseMatches(key, value string) (all []Match, err error) {
	for s := range strings.SplitSeq(value, "+") {
		m, err := ParseMatch(s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		all = append(all, m)
	}
	return all, nil
}
