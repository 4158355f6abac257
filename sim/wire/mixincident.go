package wire

import (
	"fmt"
	"math/bits"
	"net/netip"
	"strings"
	"time"
)

// Incident is traffic of a known cause on top of a mix: flows of one packet each, at equal
// distances.
type Incident struct {
	Kind     MixKind       // MixDNSRise or MixSYNFlood
	Start    time.Duration // after the start of the mix
	Duration time.Duration
	Flows    uint64 // up to 4294967296, all distinct
}

// Hosts of incidents have no other traffic.
var (
	resolvers   = [2]uint32{serversB | 0xff35, serversB | 0xff36}
	floodTarget = uint32(serversB | 0xff50)
)

const floodSources = 100<<24 | 64<<16 // 100.64.0.0/10

func (i Incident) check() error {
	switch {
	case i.Kind != MixDNSRise && i.Kind != MixSYNFlood:
		return fmt.Errorf("incident of %v: want %v or %v", i.Kind, MixDNSRise, MixSYNFlood)
	case i.Flows < 1 || i.Flows > 1<<32:
		return fmt.Errorf("incident of %d flows: want 1 to 4294967296", i.Flows)
	case i.Start < 0 || i.Start > maxMixDay || i.Duration <= 0 || i.Duration > maxMixDay:
		return fmt.Errorf("incident at %v for %v: want a start from 0, a duration above 0, and at most %v", i.Start, i.Duration, maxMixDay)
	}
	return nil
}

// Targets are the hosts to which the flows go: two resolvers, or one web server.
func (i Incident) Targets() []netip.Addr {
	if i.Kind == MixDNSRise {
		return []netip.Addr{address(resolvers[0]), address(resolvers[1])}
	}
	return []netip.Addr{address(floodTarget)}
}

// Sources is the network from which the flows come.
func (i Incident) Sources() netip.Prefix {
	if i.Kind == MixDNSRise {
		return netip.PrefixFrom(address(clientsA), 15)
	}
	return netip.PrefixFrom(address(floodSources), 10)
}

// Filter is an expression of tcpdump that matches the packets of the incident, and no
// others of the mix.
func (i Incident) Filter() string {
	var hosts []string
	for _, a := range i.Targets() {
		hosts = append(hosts, "dst host "+a.String())
	}
	if i.Kind == MixDNSRise {
		return "udp dst port 53 and (" + strings.Join(hosts, " or ") + ")"
	}
	return "tcp dst port 443 and " + hosts[0]
}

func address(a uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)})
}

// incident is an Incident that is being made.
type incident struct {
	Incident
	left uint64
	next int64 // ticks since the start of the mix

	step, frac, part uint64 // ticks from flow to flow, and a fraction of Flows
}

func newIncident(i Incident) incident {
	one := incident{Incident: i, left: i.Flows, next: int64(i.Start) * 10}
	one.step, one.frac = bits.Div64(0, uint64(i.Duration)*10, i.Flows)
	return one
}

// incident makes the next packet of an incident.
func (m *Mix) incident(one *incident) {
	p := permute(uint32(one.Flows - one.left))
	e := mixEnds{fromA: true, ttl: 48 + byte(p&15)}
	m.incidentAt = one.next
	c := &m.truth.Kinds[one.Kind]
	c.Flows++
	c.Ended++
	one.left--
	one.next += int64(one.step)
	if one.part += one.frac; one.part >= one.Flows {
		one.part -= one.Flows
		one.next++
	}
	if one.Kind == MixDNSRise {
		e.client, e.cport = clientsA|p>>15, 1024+uint16(p>>1&0x3fff) // not a port of MixDNS
		e.server, e.sport = resolvers[p&1], 53
		m.dnsQuery(MixDNSRise, &e, p)
		return
	}
	e.client, e.cport = floodSources|p>>10, 1024+uint16(p&0x3ff)*32
	e.server, e.sport = floodTarget, 443
	m.segment(MixSYNFlood, &e, false, tcpSYN, p*0x9e3779b1, 0, 0)
}
