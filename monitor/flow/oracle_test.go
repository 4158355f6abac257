package flow

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/headers"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/ring"
)

// oracle computes flows a second time, without a thought for speed: headers are decoded by
// gopacket, a flow is a list of its packets, and a record is computed from the list at its end.
type oracle struct {
	config    Config
	now       int64
	flows     map[name]*naiveFlow
	datagrams map[string]*naivePacket
	records   []Record
	removed   *uint16 // the tag that is not in the frame
}

// naivePacket is a packet and the names of its flow's two ends.
type naivePacket struct {
	rec      Record // key fields, as the packet's sender sees them
	time     int64
	size     uint16
	tcp      *layers.TCP
	segment  int // bytes of payload by IP's length; -1: not known
	payload  []byte
	first    int64 // of datagrams: when last seen
	backward bool  // set in a flow: sent by the opener's peer
}

type naiveFlow struct {
	opener      Record
	packets     []*naivePacket
	first, last int64
	seen, fin   [2]bool // by direction
	closed      bool
}

type feedback struct{ truncated bool }

func (f *feedback) SetTruncated() { f.truncated = true }

func newOracle(c Config) *oracle {
	c.OnRecords = func([]Record) {}
	if err := c.complete(); err != nil {
		panic(err)
	}
	return &oracle{config: c, flows: map[name]*naiveFlow{}, datagrams: map[string]*naivePacket{}}
}

// name is what a flow's packets have in common, as one side sees it.
type name struct {
	src, dst       netip.AddrPort
	srcMAC, dstMAC MAC // of flows without IP
	proto          uint8
	etherType      uint16
	vlan, inner    uint16
	tunnel         headers.Tunnels
	tunnelID       uint32
}

func nameOf(r *Record, backward bool) name {
	n := name{
		src: netip.AddrPortFrom(r.Src, r.SrcPort), dst: netip.AddrPortFrom(r.Dst, r.DstPort), proto: r.Proto,
		etherType: r.EtherType, vlan: r.VLAN, inner: r.InnerVLAN, tunnel: r.Tunnel, tunnelID: r.TunnelID,
	}
	if !r.Src.IsValid() {
		n.srcMAC, n.dstMAC = r.SrcMAC, r.DstMAC
	}
	if backward {
		n.src, n.dst, n.srcMAC, n.dstMAC = n.dst, n.src, n.dstMAC, n.srcMAC
	}
	return n
}

func (o *oracle) process(in *stream.Packet) {
	p := o.decode(in)
	p.size = in.Len
	o.now = max(o.now, p.time)
	key := nameOf(&p.rec, false)
	f := o.flows[key]
	if f == nil && !o.config.OneWay {
		if f = o.flows[nameOf(&p.rec, true)]; f != nil {
			key, p.backward = nameOf(&p.rec, true), true
		}
	}
	if f != nil {
		if why, over := o.over(f, p); over {
			o.end(key, why)
			f = nil
		}
	}
	if f == nil {
		p.backward = !o.config.OneWay && p.tcp != nil && p.tcp.SYN && p.tcp.ACK
		f = &naiveFlow{opener: p.rec}
		if p.backward {
			r := &f.opener
			r.Src, r.Dst, r.SrcPort, r.DstPort, r.SrcMAC, r.DstMAC = r.Dst, r.Src, r.DstPort, r.SrcPort, r.DstMAC, r.SrcMAC
		}
		key = nameOf(&p.rec, p.backward)
		o.flows[key] = f
	} else if key != nameOf(&p.rec, p.backward) {
		panic("the name changed")
	}
	if nameOf(&p.rec, false) == nameOf(&p.rec, true) && len(f.packets) > 0 {
		p.backward = f.packets[0].backward // both ends are equal
	}
	f.add(p, o.config.OneWay)
}

// add adds a packet, and notes first and last stamp and if the connection is closed.
func (f *naiveFlow) add(p *naivePacket, oneWay bool) {
	d := 0
	if p.backward {
		d = 1
	}
	if len(f.packets) == 0 || !f.seen[d] {
		f.first = min(cmp.Or(f.first, p.time), p.time)
	}
	f.seen[d] = true
	f.last = max(f.last, p.time)
	if p.tcp != nil {
		f.fin[d] = f.fin[d] || p.tcp.FIN
		f.closed = f.closed || p.tcp.RST || f.fin[0] && f.fin[1] || f.fin[0] && oneWay
	}
	f.packets = append(f.packets, p)
}

func (o *oracle) over(f *naiveFlow, p *naivePacket) (End, bool) {
	first, last, closed := f.first, f.last, f.closed
	syn := p.tcp != nil && p.tcp.SYN && !p.tcp.ACK
	switch {
	case closed && (o.now-last > int64(o.config.Linger) || syn):
		return EndClosed, true
	case o.now-last > int64(o.config.Idle):
		return EndIdle, true
	case o.now-first > int64(o.config.Active):
		return EndActive, true
	}
	return 0, false
}

// flush ends all flows: what expired by now as idle or closed, the rest as flushed.
func (o *oracle) flush() []Record {
	for key, f := range o.flows {
		last, closed := f.last, f.closed
		why := EndFlushed
		if closed && o.now-last > int64(o.config.Linger) {
			why = EndClosed
		} else if o.now-last > int64(o.config.Idle) {
			why = EndIdle
		}
		o.end(key, why)
	}
	sortRecords(o.records)
	return o.records
}

func (o *oracle) end(key name, why End) {
	f := o.flows[key]
	delete(o.flows, key)
	r := f.opener
	r.First, r.Last = f.first, f.last
	r.Ended = why
	last := int64(0)
	for i, p := range f.packets {
		if i < Firsts {
			r.LeadingSizes[i] = p.size
			if i > 0 {
				r.LeadingGaps[i] = max(0, p.time-last)
			}
			if p.backward {
				r.LeadingFrom |= 1 << i
			}
			r.Leading++
		}
		last = max(last, p.time)
	}
	for d := range r.Directions {
		r.Directions[d] = o.direction(f, d == Reverse)
	}
	o.records = append(o.records, r)
}

func (o *oracle) direction(f *naiveFlow, backward bool) (d Direction) {
	var sizes, gaps []uint64
	var syn, highest int64 = -1, -1
	var missing [2]uint32
	seq := map[bool]uint32{}
	for _, p := range f.packets {
		t := p.tcp
		if p.backward != backward {
			if t != nil && p.segment >= 0 && t.ACK && syn >= 0 && d.SynRTT == 0 && t.Ack == seq[backward] {
				d.SynRTT = max(1, p.time-syn)
			}
			continue
		}
		if d.Packets == 0 {
			d.First, d.Last = p.time, p.time
		} else {
			gaps = append(gaps, uint64(max(0, p.time-d.Last)))
			d.Last = max(d.Last, p.time)
		}
		d.Packets++
		d.Bytes += uint64(p.size)
		sizes = append(sizes, uint64(p.size))
		d.Payload = append(d.Payload, p.payload...)
		if t == nil {
			continue
		}
		for i, set := range []bool{t.FIN, t.SYN, t.RST, t.PSH, t.ACK, t.URG, t.ECE, t.CWR} {
			if set {
				d.Flags[i]++
			}
		}
		if t.Window == 0 && !t.SYN && !t.FIN && !t.RST {
			d.ZeroWindows++
		}
		if p.segment < 0 {
			continue
		}
		length := uint32(p.segment)
		if t.SYN {
			length++
		}
		if t.FIN {
			length++
		}
		if length > 0 {
			end := t.Seq + length
			switch ahead := int32(t.Seq - seq[backward]); {
			case highest < 0:
				seq[backward] = end
			case ahead > 0:
				missing = [2]uint32{seq[backward], t.Seq}
				seq[backward] = end
			case ahead == 0:
				seq[backward] = end
			case ahead == -1 && length == 1 && !t.SYN && !t.FIN && !t.RST:
			case t.Seq == missing[0] && missing[0] != missing[1]:
				d.OutOfOrder++
				if length > missing[1]-missing[0] {
					missing[0] = missing[1]
				} else {
					missing[0] += length
				}
			case t.Seq-missing[0] < missing[1]-missing[0]:
				d.OutOfOrder++
				missing[1] = t.Seq
			default:
				d.Retransmitted++
			}
			if int32(end-seq[backward]) > 0 {
				seq[backward] = end
			}
			highest = 0
		}
		if t.SYN && d.SynRTT == 0 {
			syn = p.time
		}
	}
	d.Sizes, d.Gaps = moments(sizes), moments(gaps)
	d.Payload = d.Payload[:min(len(d.Payload), o.config.Payload)]
	if len(d.Payload) == 0 {
		d.Payload = nil
	}
	return d
}

func moments(values []uint64) (m Moments) {
	for i, v := range values {
		if i == 0 {
			m.Min = v
		}
		m.Count, m.Sum, m.Min, m.Max = m.Count+1, m.Sum+v, min(m.Min, v), max(m.Max, v)
		addSquare(&m.squares, v)
	}
	if m.Count == 0 {
		return m
	}
	// The standard deviation in two passes, to compare with that of the sums.
	mean := float64(m.Sum) / float64(m.Count)
	var squares float64
	for _, v := range values {
		squares += (float64(v) - mean) * (float64(v) - mean)
	}
	want := math.Sqrt(squares / float64(m.Count))
	if got := m.Deviation(); math.Abs(got-want) > 1e-6*(want+1) {
		panic(fmt.Sprintf("deviation of %v: %v, two passes %v", values, got, want))
	}
	return m
}

// decode finds the key of a frame.
func (o *oracle) decode(in *stream.Packet) *naivePacket {
	p := &naivePacket{segment: -1, time: in.UnixNano()}
	var dated []string
	o.removed = nil
	if o.config.VLAN && in.Info&ring.HasVLAN != 0 && in.Info&ring.Stripped != 0 {
		o.removed = &in.VLAN
	}
	o.ethernet(p, in.Data, &dated)
	for _, id := range dated {
		known := *p
		known.first = p.time
		o.datagrams[id] = &known
	}
	return p
}

func (o *oracle) ethernet(p *naivePacket, data []byte, dated *[]string) bool {
	if len(data) < 14 {
		return false
	}
	r := &p.rec
	keep := Record{Tunnel: r.Tunnel, TunnelID: r.TunnelID}
	*r = keep
	p.tcp, p.segment, p.payload = nil, -1, nil
	r.DstMAC, r.SrcMAC = MAC(data[:6]), MAC(data[6:12])
	kind, rest, tags := binary.BigEndian.Uint16(data[12:]), data[14:], 0
	if o.removed != nil {
		r.VLAN, tags, o.removed = *o.removed&0xfff, 1, nil
	}
	for ; kind == 0x8100 || kind == 0x88a8 || kind == 0x9100; tags++ {
		var q layers.Dot1Q
		if q.DecodeFromBytes(rest, &feedback{}) != nil {
			break
		}
		if o.config.VLAN && tags == 0 {
			r.VLAN = q.VLANIdentifier
		} else if o.config.VLAN && tags == 1 {
			r.InnerVLAN = q.VLANIdentifier
		}
		kind, rest = uint16(q.Type), q.Payload
	}
	r.EtherType = kind
	if kind <= 1500 {
		r.EtherType = 0
	}
	p.payload = rest
	o.carried(p, kind, rest, dated)
	return true
}

func (o *oracle) carried(p *naivePacket, kind uint16, rest []byte, dated *[]string) bool {
	mpls := o.config.Tunnels&headers.MPLS != 0
	switch layers.EthernetType(kind) {
	case layers.EthernetTypeIPv4, layers.EthernetTypeIPv6:
		return o.ip(p, rest, dated)
	case layers.EthernetTypeMPLSUnicast, layers.EthernetTypeMPLSMulticast:
		return mpls && o.mpls(p, rest, dated)
	case layers.EthernetTypeTransparentEthernetBridging:
		return o.ethernet(p, rest, dated)
	case layers.EthernetTypePPPoESession:
		if len(rest) >= 8 && (rest[6] == 0 && (rest[7] == 0x21 || rest[7] == 0x57)) {
			return o.ip(p, rest[8:], dated)
		}
	}
	return false
}

func (o *oracle) mpls(p *naivePacket, rest []byte, dated *[]string) bool {
	label, bottom := uint32(0), false
	for !bottom {
		if len(rest) < 4 {
			return false
		}
		field := binary.BigEndian.Uint32(rest)
		label, bottom, rest = field>>12, field>>8&1 != 0, rest[4:]
	}
	return o.inside(p, headers.MPLS, label, func() bool {
		if len(rest) > 0 && (rest[0]>>4 == 4 || rest[0]>>4 == 6) {
			return o.ip(p, rest, dated)
		}
		return len(rest) >= 4 && rest[0] == 0 && rest[1] == 0 && o.ethernet(p, rest[4:], dated)
	})
}

// inside decodes what a tunnel carries, and leaves the packet as it was if that fails.
func (o *oracle) inside(p *naivePacket, kind headers.Tunnels, id uint32, decode func() bool) bool {
	before := *p
	p.rec.Tunnel, p.rec.TunnelID = kind, id
	if decode() {
		return true
	}
	*p = before
	return false
}

// extensions are headers of IPv6 that say what is behind.
var extensions = []layers.IPProtocol{0, 43, 44, 51, 60, 135, 139, 140}

// ip decodes a packet of either version.
func (o *oracle) ip(p *naivePacket, data []byte, dated *[]string) bool {
	if len(data) < 20 {
		return false
	}
	r := &p.rec
	var id string
	var proto layers.IPProtocol
	var rest []byte
	length, offset, more := -1, 0, false
	switch data[0] >> 4 {
	case 4:
		var h layers.IPv4
		_ = h.DecodeFromBytes(data, &feedback{}) // a wrong length is no error of a flow's
		size := int(data[0]&0xf) * 4
		if size < 20 {
			return false
		}
		r.EtherType = 0x800
		r.Src, r.Dst = netip.AddrFrom4([4]byte(data[12:16])), netip.AddrFrom4([4]byte(data[16:20]))
		proto, offset, more = layers.IPProtocol(data[9]), int(h.FragOffset)*8, h.Flags&layers.IPv4MoreFragments != 0
		id = fmt.Sprint(r.Src, r.Dst, h.Id)
		if total := int(binary.BigEndian.Uint16(data[2:])); total >= size {
			length = total - size
		}
		rest = data[min(size, len(data)):]
	case 6:
		var h layers.IPv6
		if len(data) < 40 {
			return false
		}
		_ = h.DecodeFromBytes(data, &feedback{})
		r.EtherType = 0x86dd
		r.Src, r.Dst = netip.AddrFrom16([16]byte(data[8:24])), netip.AddrFrom16([16]byte(data[24:40]))
		proto, rest = layers.IPProtocol(data[6]), data[40:]
		if total := int(binary.BigEndian.Uint16(data[4:])); total > 0 {
			length = total
		}
		for done := false; !done && offset == 0; {
			skip := 0
			switch proto {
			case 0, 43, 60, 135, 139, 140:
				if len(rest) >= 8 {
					skip = 8 + 8*int(rest[1])
				}
			case 51:
				if len(rest) >= 8 {
					skip = 8 + 4*int(rest[1])
				}
			case 44:
				if len(rest) >= 8 {
					field := binary.BigEndian.Uint16(rest[2:])
					skip, offset, more = 8, int(field>>3)*8, field&1 != 0
					id = fmt.Sprint(r.Src, r.Dst, binary.BigEndian.Uint32(rest[4:]))
				}
			}
			if done = skip == 0; !done {
				proto = layers.IPProtocol(rest[0])
				rest = rest[min(skip, len(rest)):]
				if length >= 0 {
					length -= skip
				}
			}
		}
	default:
		return false
	}
	r.Proto, r.SrcPort, r.DstPort = uint8(proto), 0, 0
	p.tcp, p.segment, p.payload = nil, -1, nil
	if length >= 0 && length < len(rest) {
		rest = rest[:length]
	}
	id = fmt.Sprint(id, r.Tunnel, r.TunnelID)
	if offset > 0 {
		if known := o.datagrams[id]; known != nil && p.time-known.first <= 30e9 {
			known.first = p.time
			macs := [2]MAC{r.SrcMAC, r.DstMAC}
			p.rec = known.rec
			if p.rec.Src.IsValid() { // else they are the key
				p.rec.SrcMAC, p.rec.DstMAC = macs[0], macs[1]
			}
		}
		return true
	}
	if more {
		*dated = append(*dated, id)
	}
	for proto == 51 && len(rest) >= 8 {
		skip := 8 + 4*int(rest[1])
		proto, rest = layers.IPProtocol(rest[0]), rest[min(skip, len(rest)):]
		r.Proto = uint8(proto)
	}
	if slices.Contains(extensions, proto) {
		return true // the next header is cut off
	}
	o.transport(p, proto, rest, length, more)
	o.tunnel(p, proto, rest, dated)
	return true
}

func (o *oracle) transport(p *naivePacket, proto layers.IPProtocol, rest []byte, length int, more bool) {
	r := &p.rec
	p.payload = rest
	ports := func(header int) {
		p.payload = rest[min(header, len(rest)):]
		if len(rest) >= 4 {
			r.SrcPort, r.DstPort = binary.BigEndian.Uint16(rest), binary.BigEndian.Uint16(rest[2:])
		}
	}
	switch proto {
	case layers.IPProtocolUDP, layers.IPProtocolUDPLite:
		ports(8)
	case layers.IPProtocolSCTP:
		ports(12)
	case layers.IPProtocolTCP:
		ports(len(rest))
		var t layers.TCP
		err := t.DecodeFromBytes(rest, &feedback{})
		if len(rest) >= 20 && err == nil {
			p.tcp = &t
			p.payload = t.Payload
			if length >= 0 && !more {
				p.segment = max(0, length-int(t.DataOffset)*4)
			}
		}
	case layers.IPProtocolICMPv4, layers.IPProtocolICMPv6:
		p.payload = rest[min(8, len(rest)):]
		o.icmp(p, proto, rest)
	}
}

func (o *oracle) icmp(p *naivePacket, proto layers.IPProtocol, b []byte) {
	if len(b) < 2 {
		return
	}
	r := &p.rec
	queries := map[uint8]uint8{8: 0, 13: 14, 15: 16, 17: 18}
	if proto == layers.IPProtocolICMPv6 {
		queries = map[uint8]uint8{128: 129}
	}
	r.SrcPort, r.DstPort = 0, uint16(b[0])<<8|uint16(b[1])
	for query, answer := range queries {
		if len(b) < 6 || b[0] != query && b[0] != answer {
			continue
		}
		r.SrcPort = binary.BigEndian.Uint16(b[4:])
		if b[0] == answer && !o.config.OneWay {
			r.SrcPort, r.DstPort = uint16(query)<<8|uint16(b[1]), r.SrcPort
		}
	}
}

func (o *oracle) tunnel(p *naivePacket, proto layers.IPProtocol, rest []byte, dated *[]string) bool {
	want := func(t headers.Tunnels) bool { return o.config.Tunnels&t != 0 }
	switch {
	case (proto == layers.IPProtocolIPv4 || proto == layers.IPProtocolIPv6) && want(headers.IPIP):
		return o.inside(p, headers.IPIP, 0, func() bool { return o.ip(p, rest, dated) })
	case proto == layers.IPProtocolMPLSInIP && want(headers.MPLS):
		return o.mpls(p, rest, dated)
	case proto == layers.IPProtocolGRE && want(headers.GRE):
		var g layers.GRE
		if g.DecodeFromBytes(rest, &feedback{}) != nil || g.Version != 0 || g.RoutingPresent {
			return false
		}
		return o.inside(p, headers.GRE, g.Key, func() bool { return o.carried(p, uint16(g.Protocol), g.Payload, dated) })
	case proto == layers.IPProtocolUDP && len(rest) >= 8:
		switch port := binary.BigEndian.Uint16(rest[2:]); {
		case port == 4789 && want(headers.VXLAN):
			var v layers.VXLAN
			if v.DecodeFromBytes(rest[8:], &feedback{}) != nil || !v.ValidIDFlag {
				return false
			}
			return o.inside(p, headers.VXLAN, v.VNI, func() bool { return o.ethernet(p, v.Payload, dated) })
		case port == 2152 && want(headers.GTPU):
			var g layers.GTPv1U
			b := slices.Clone(rest[8:])
			if len(b) < 8 {
				return false
			}
			binary.BigEndian.PutUint16(b[2:], uint16(len(b)-8)) // of a packet that is cut, too
			if g.DecodeFromBytes(b, &feedback{}) != nil || g.MessageType != 255 || b[0]>>4 != 3 {
				return false
			}
			return o.inside(p, headers.GTPU, g.TEID, func() bool { return o.ip(p, g.Payload, dated) })
		case port == 6635 && want(headers.MPLS):
			return o.mpls(p, rest[8:], dated)
		}
	}
	return false
}

var _ gopacket.DecodeFeedback = (*feedback)(nil)

// sortRecords puts records in an order of fields that do not depend on when flows expire.
func sortRecords(records []Record) {
	slices.SortFunc(records, func(a, b Record) int {
		if c := cmp.Or(cmp.Compare(a.First, b.First), a.Src.Compare(b.Src), a.Dst.Compare(b.Dst),
			cmp.Compare(a.SrcPort, b.SrcPort), cmp.Compare(a.DstPort, b.DstPort)); c != 0 {
			return c
		}
		a.Short, b.Short, a.Ended, b.Ended = false, false, 0, 0
		return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b))
	})
}

// run feeds packets to an engine in batches of a size and returns its records.
func run(t testing.TB, c Config, packets []stream.Packet, batch int) ([]Record, Stats) {
	t.Helper()
	var all []Record
	c.OnRecords = func(records []Record) {
		for _, r := range records {
			for d := range r.Directions {
				r.Directions[d].Payload = append([]byte(nil), r.Directions[d].Payload...)
			}
			all = append(all, r)
		}
	}
	e, err := New(c)
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	for part := range slices.Chunk(packets, batch) {
		e.Process(part)
	}
	e.Flush()
	s := e.Stats()
	require.NoError(t, s.Balanced(), s)
	var frames, bytes uint64
	for i := range packets {
		bytes += uint64(packets[i].Len)
	}
	for i := range all {
		for _, d := range all[i].Directions {
			frames += d.Packets
		}
	}
	require.EqualValues(t, len(packets), frames)
	require.EqualValues(t, frames, s.Frames)
	require.Equal(t, bytes, s.Bytes)
	sortRecords(all)
	return all, s
}

// compareWithOracle compares all records field by field.
func compareWithOracle(t *testing.T, c Config, packets []stream.Packet) {
	t.Helper()
	o := newOracle(c)
	for i := range packets {
		o.process(&packets[i])
	}
	want := o.flush()
	got, _ := run(t, c, packets, 100)
	for i := range min(len(want), len(got)) {
		w, g := want[i], got[i]
		g.Short = false
		// An engine looks for expired flows at intervals.
		if w.Ended != EndFlushed && g.Ended == EndFlushed {
			g.Ended = w.Ended
		}
		require.Equal(t, w, g, "flow %d of %d, %d", i, len(want), len(got))
	}
	require.Len(t, got, len(want))
}
