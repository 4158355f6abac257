package hwfilter_test

import (
	"encoding/binary"
	"io"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/hwfilter"
	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/capture/rules"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/ring"
	"github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/wire"
)

// listWire delivers frames once.
type listWire struct {
	mu     sync.Mutex
	frames [][]byte
}

func (w *listWire) Receive(frames []wire.Frame, _ int) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.frames) == 0 {
		return 0, io.EOF
	}
	n := min(len(frames), len(w.frames))
	for i := range n {
		frames[i] = wire.Frame{Data: w.frames[i], At: int64(i)}
	}
	w.frames = w.frames[n:]
	return n, nil
}

func (w *listWire) Send([]byte) error { return nil }
func (w *listWire) Up() bool          { return true }
func (w *listWire) Close() error      { return nil }

// queues passes frames through a port with the plan's filters and returns the queue of
// each, -1 if the port dropped it. Frames must differ.
func queues(t *testing.T, p hwfilter.Plan, frames [][]byte) (list []int) {
	t.Helper()
	nic, err := sim.New(sim.Config{}, &listWire{frames: frames})
	require.NoError(t, err)
	dev, err := sim.Connect(nic, "sim:test")
	require.NoError(t, err)
	defer func() { require.NoError(t, dev.Close()) }()
	port, err := driver.Open(dev, driver.Config{Queues: 4, RingSize: 512, MaxFrame: 1514, FlowDirector: p.FlowDirector})
	require.NoError(t, err)
	defer func() { require.NoError(t, port.Close()) }()
	_, err = port.SetFilters(p.Filters)
	require.NoError(t, err)
	require.NoError(t, port.Start())
	select {
	case <-nic.Ended():
	case <-time.After(30 * time.Second):
		require.Fail(t, "the wire does not end")
	}
	at := map[string]int{}
	batch := make([]ring.Frame, 64)
	for q := range port.RxQueues() {
		for n := port.RxQueue(q).Poll(batch); n > 0; n = port.RxQueue(q).Poll(batch) {
			for _, f := range batch[:n] {
				at[string(f.Data)] = q
			}
			port.RxQueue(q).Release()
		}
	}
	s, err := port.Stats()
	require.NoError(t, err)
	require.NoError(t, s.Balanced())
	require.EqualValues(t, len(at), s.Received)
	require.EqualValues(t, len(frames)-len(at), s.Filtered)
	for _, f := range frames {
		q, ok := at[string(f)]
		if !ok {
			q = -1
		}
		list = append(list, q)
	}
	return list
}

// packet is a frame of an IP protocol; port 0 of both: none.
func packet(src, dst string, proto byte, sport, dport uint16) []byte {
	b := make([]byte, 12)
	s, d := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	if s.Is4() {
		b = append(b, 0x08, 0x00, 0x45, 0, 0, 44, 0, 0, 0, 0, 64, proto, 0, 0)
	} else {
		b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, proto, 64)
	}
	b = append(append(b, s.AsSlice()...), d.AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	b = append(b, make([]byte, 20)...)
	return append(b, make([]byte, max(0, 60-len(b)))...)
}

func arp(sender string) []byte {
	b := append(make([]byte, 12), 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1)
	b = append(append(b, make([]byte, 6)...), netip.MustParseAddr(sender).AsSlice()...)
	return append(b, make([]byte, 60-len(b))...)
}

// corpus has every combination of some hosts, protocols and ports, ARP and a fragment.
func corpus() (all [][]byte) {
	hosts4, hosts6 := []string{"10.0.0.1", "10.0.0.2", "10.1.0.1"}, []string{"2001:db8::1", "2001:db8::2"}
	for _, hosts := range [][]string{hosts4, hosts6} {
		for _, s := range hosts {
			for _, d := range hosts {
				for _, proto := range []byte{6, 17, 132} {
					all = append(all, packet(s, d, proto, 53, 4000), packet(s, d, proto, 4000, 53), packet(s, d, proto, 80, 81))
				}
			}
		}
	}
	fragment := packet("10.0.0.1", "10.0.0.2", 17, 53, 53)
	fragment[20] = 0x20
	return append(all, arp("10.0.0.1"), arp("10.0.0.9"), fragment)
}

// Every frame that the chip drops matches the expression by package pcapfilter, whose
// oracle is libpcap. What matches and is not dropped is what the plan says.
func TestTheChipDropsPartOfWhatTheExpressionMatches(t *testing.T) {
	const fragments, arpToo = "fragments", "addresses in ARP"
	isIPv6 := func(f []byte) bool { return f[12] == 0x86 }
	isARP := func(f []byte) bool { return f[13] == 0x06 }
	isFragment := func(f []byte) bool { return f[12] == 8 && f[13] == 0 && f[20] != 0 }
	for _, c := range []struct {
		expression string
		rest       []string
		left       func(f []byte) bool // what may match and stay; nil: nothing
	}{
		{"host 10.0.0.1", []string{arpToo}, isARP},
		{"ip host 10.0.0.1", nil, nil},
		{"src host 10.0.0.1", []string{arpToo}, isARP},
		{"src 10.0.0.1 and udp dst port 53", []string{fragments}, isFragment},
		{"udp port 53", []string{fragments, "IPv6"}, func(f []byte) bool { return isIPv6(f) || isFragment(f) }},
		{"port 53", []string{fragments, "IPv6"}, func(f []byte) bool { return isIPv6(f) || isFragment(f) }},
		{"ip and tcp", []string{fragments}, nil},
		{"ip src net 10.0.0.0/24", nil, nil},
		{"ip6 and src 2001:db8::1", nil, nil},
		{"ip6 and tcp", []string{fragments}, nil},
		{"arp", nil, nil},
		{"ether proto 0x0806 or host 10.1.0.1", []string{arpToo}, isARP},
		{"tcp and (src host 10.0.0.1 or dst host 10.0.0.2) and src port 80", []string{fragments}, nil},
		{"ip src host 10.0.0.1 or 10.0.0.2", nil, nil},
		{"udp or tcp dst port 53 and host 10.0.0.2", []string{fragments}, isFragment},
		{"tcp port 80 or 53", []string{fragments, "IPv6"}, isIPv6},
		{"src net 10.0.0.0/24 and (udp or sctp) and ip", []string{fragments}, isFragment},
		{"ip host 10.0.0.1 or ip6 dst host 2001:db8::1",
			[]string{"dst net 2001:db8::1/128 (destination 2001:db8::1/128: perfect filters of the Flow Director compare no IPv6 destination)"}, isIPv6},
	} {
		t.Run(c.expression, func(t *testing.T) {
			r, err := hwfilter.Parse("(" + c.expression + ") drop")
			require.NoError(t, err)
			p, err := r.Plan(4, 0)
			require.NoError(t, err)
			require.ElementsMatch(t, c.rest, p.Rules[0].Rest)
			match, err := pcapfilter.Compile(c.expression)
			require.NoError(t, err)
			frames := corpus()
			dropped := 0
			for i, q := range queues(t, p, frames) {
				f := frames[i]
				matches := match.Match(f, len(f))
				if q < 0 {
					dropped++
					require.True(t, matches, "dropped: %x", f)
				} else if matches {
					require.NotNil(t, c.left, "stayed: %x", f)
					require.True(t, c.left(f), "stayed: %x", f)
				}
			}
			require.NotZero(t, dropped)
		})
	}
}

func TestQueueRules(t *testing.T) {
	r, err := hwfilter.Parse("(ip src host 10.0.0.1 and udp) queue 2\n(ip src host 10.0.0.1) drop; (tcp[tcpflags] & tcp-syn != 0) queue 3")
	require.NoError(t, err)
	require.Equal(t, "(ip src host 10.0.0.1 and udp) queue 2; (ip src host 10.0.0.1) drop; (tcp[tcpflags] & tcp-syn != 0) queue 3", r.String())
	require.Equal(t, "(not (ip src host 10.0.0.1 and udp) and (ip src host 10.0.0.1)) drop; ", r.Software())
	p, err := r.Plan(4, 0)
	require.NoError(t, err)
	require.Equal(t, driver.NoFlowDirector, p.FlowDirector)
	require.Equal(t, "(ip src host 10.0.0.1 and udp) queue 2: in the chip: 1 5-tuple filter; not in the chip: fragments", p.Rules[0].String())
	syn := packet("10.0.0.2", "10.0.0.1", 6, 1, 2)
	syn[14+20+13] = 2
	got := queues(t, p, [][]byte{
		packet("10.0.0.1", "10.0.0.2", 17, 1, 2), packet("10.0.0.1", "10.0.0.2", 6, 1, 2), syn,
	})
	require.Equal(t, []int{2, -1, 3}, got)
}

// What software drops is not what a queue in front of it was to get. An expression on
// several lines is one line there.
func TestSoftwareDropsNoFrameOfAQueueInFront(t *testing.T) {
	r, err := hwfilter.Parse("(vlan 7 and udp)queue 1; (tcp\n\tport 80) queue 2\n(ip src host 10.0.0.1) drop; (arp) drop")
	require.NoError(t, err)
	require.Equal(t, "(not (tcp port 80) and (ip src host 10.0.0.1) and not (vlan 7 and udp)) drop; "+
		"(not (tcp port 80) and (arp) and not (vlan 7 and udp)) drop; ", r.Software())
	own, err := rules.Parse(r.Software())
	require.NoError(t, err)
	require.Equal(t, 2, own.Len())
}

// What stands behind "vlan" is behind a tag, of any number if none is compared beside it.
func TestConditionsBehindVLANAreForTaggedFrames(t *testing.T) {
	r, err := hwfilter.Parse("(vlan 7 or ip src host 10.0.0.1) drop")
	require.NoError(t, err)
	p, err := r.Plan(1, 0)
	require.NoError(t, err)
	require.Len(t, p.Filters, 1)
	require.Equal(t, uint16(7), p.Filters[0].VLAN)
	require.Contains(t, p.Rules[0].Rest, "what is behind a VLAN tag of any number")
}

// Where all frames have an outer tag the chip compares the inner one, and the expression
// the outer.
func TestVLANOfFramesWithAnOuterTagIsLeftToSoftware(t *testing.T) {
	r, err := hwfilter.Parse("(vlan 7) drop")
	require.NoError(t, err)
	_, err = r.Plan(1, 0x88a8)
	require.ErrorContains(t, err, "vlan 7 (of frames with an outer tag the chip compares the inner one)")
}

func TestVLANTakesTheFlowDirector(t *testing.T) {
	r, err := hwfilter.Parse("(vlan 7) drop")
	require.NoError(t, err)
	p, err := r.Plan(1, 0)
	require.NoError(t, err)
	require.Equal(t, driver.PerfectFlows, p.FlowDirector)
	require.Equal(t, "(vlan 7) drop: in the chip: 1 Flow Director filter; not in the chip: what is not IP in the VLAN", p.Rules[0].String())
}

// A port that is open has its Flow Director or has it not.
func TestAnOpenPortKeepsItsFlowDirector(t *testing.T) {
	r, err := hwfilter.Parse("(ip src host 10.0.0.1 or ip6 src host 2001:db8::1) drop")
	require.NoError(t, err)
	p, err := r.PlanOpen(driver.Config{Queues: 1, FlowDirector: driver.NoFlowDirector})
	require.NoError(t, err)
	require.Equal(t, driver.NoFlowDirector, p.FlowDirector)
	require.Len(t, p.Filters, 1)
	require.Equal(t, []string{"src net 2001:db8::1/128 (only the Flow Director can, which gets its memory when the port is opened: restart the capture)"}, p.Rules[0].Rest)
	p, err = r.PlanOpen(driver.Config{Queues: 1, FlowDirector: driver.PerfectFlows})
	require.NoError(t, err)
	require.Len(t, p.Filters, 2)
	require.Equal(t, []hwfilter.Use{{Engine: driver.TupleFilter, Filters: 1}, {Engine: driver.FlowDirectorFilter, Filters: 1}}, p.Rules[0].Chip())
	require.Equal(t, "2 5-tuple filters", hwfilter.Use{Engine: driver.TupleFilter, Filters: 2}.String())

	r, err = hwfilter.Parse("(vlan 7) drop")
	require.NoError(t, err)
	_, err = r.PlanOpen(driver.Config{Queues: 1, FlowDirector: driver.NoFlowDirector})
	require.ErrorContains(t, err, "restart the capture")
	r, err = hwfilter.Parse("(udp) drop")
	require.NoError(t, err)
	p, err = r.PlanOpen(driver.Config{Queues: 1, FlowDirector: driver.PerfectFlows})
	require.NoError(t, err)
	require.Equal(t, driver.PerfectFlows, p.FlowDirector, "it stays on")
}

func TestRulesThatTheChipCannotDoAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "filters of the port: none",
		"udp drop":                          "filter 1 of the port: an expression in parentheses is expected",
		"(udp) store":                       `filter 1 of the port: "store" behind "udp": want drop, or queue and its number`,
		"(udp) drop; (tcp and) drop":        `filter 2 of the port: "tcp and"`,
		"(udp) queue x":                     "queue x: want a number from 0",
		"((udp) drop":                       "a parenthesis is not closed",
		"() drop":                           "the expression is empty",
		"(not udp) drop":                    `the chip does not compare "not". Use the rules of the capture`,
		"(len > 100) drop":                  `the chip does not compare "len"`,
		"(udp[8] = 1) drop":                 `the chip can do nothing of it`,
		"(ether host 2:0:0:0:0:1) drop":     "the chip does not compare addresses of Ethernet",
		"(ip6 dst host 2001:db8::1) drop":   "perfect filters of the Flow Director compare no IPv6 destination",
		"(udp) queue 9":                     "queue 9: want 0 to 3",
		"(portrange 1-1000) drop":           `the chip does not compare "portrange"`,
		"(udp and vlan 7) drop":             "no frame can match this expression",
		"(vlan 7 and vlan 7) drop":          "frames with several VLAN tags",
		"(udp) queue 1; (udp port 53) drop": "no frame can match this expression. Put it first",
		"(vlan 7) queue 1; (vlan 8) drop":   "it is behind a queue, and several of them have vlan: put the drops first",
		"(vlan and udp) drop":               "vlan without a number",
		"(ether proto 0) drop":              "the chip can do nothing of it: ether proto 0",
		"(host 10.0.0.1 and (udp port 80) or 53) drop":               `"53": write an address or ADDRESS/LENGTH`,
		"(ip src net 10.0.0.0/8) drop; (ip dst net 10.0.0.0/8) drop": "all filters of the Flow Director compare the same fields",
	} {
		r, err := hwfilter.Parse(text)
		if err == nil {
			_, err = r.Plan(4, 0)
		}
		require.ErrorContains(t, err, want, text)
		require.NotContains(t, err.Error(), "\n")
	}
	r, err := hwfilter.Parse("(port 53) drop")
	require.NoError(t, err)
	_, err = r.Plan(16, 0)
	require.EqualError(t, err, "filter (port 53) drop: the chip can do nothing of it: a port with 16 queues has no counter left for dropped frames: use at most 15. Use the rules of the capture", "the reason once")
	r, err = hwfilter.Parse("none")
	require.NoError(t, err)
	require.False(t, r.Any())
	require.Equal(t, "none", r.String())
	p, err := r.Plan(1, 0)
	require.NoError(t, err)
	require.Empty(t, p.Filters)
}

// Any text is parsed and planned without a panic, and printed so that it parses again.
func FuzzParse(f *testing.F) {
	f.Add("(udp and port 53) drop; (host 10.0.0.1 or net 10.0.0.0/8 and vlan 3) queue 1")
	f.Add("(tcp[13] & 2 != 0) queue 0\n(ip6 src 2001:db8::/32) drop")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := hwfilter.Parse(text)
		if err != nil {
			return
		}
		again, err := hwfilter.Parse(r.String())
		require.NoError(t, err)
		require.Equal(t, r, again)
		p, err := r.Plan(4, 0)
		if err == nil {
			_, err = driver.Config{Queues: 4, FlowDirector: p.FlowDirector}.PlaceFilters(p.Filters)
			require.NoError(t, err)
		}
	})
}
