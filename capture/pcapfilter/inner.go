package pcapfilter

import (
	"encoding/binary"

	"github.com/ixcap/ixcap/capture/internal/ether"
)

// Limits of what "inner" follows, so that the work for a frame is bounded.
const (
	maxInside  = 16   // packets in a frame
	maxHeaders = 64   // headers before them, extension headers and labels too
	innerReach = 1024 // bytes from the frame's start in which the headers lie
	maxTags    = 4    // VLAN tags in a row
)

// rawView is the view of a packet of IP without a link layer. Views before are of a
// frame of Ethernet, behind so many tags as their number.
const rawView = maxTags + 1

// inner is an "inner (EXPR)": EXPR for each view of a packet.
type inner struct {
	conds [rawView + 1]*cond // as parsed
	views [rawView + 1]program
}

// inner parses "(EXPR)" behind the word. The condition is that a packet inside the
// frame meets EXPR.
func (p *parser) inner(word token) *cond {
	switch {
	case p.inside:
		fail(word.at, "inner inside inner: the outer one looks at every depth")
	case !p.isSign("("):
		p.unexpected(p.peek(), "( behind inner, as in inner (tcp port 80)")
	}
	p.advance()
	start, outer := p.next, p.gen
	p.inside = true
	in := &inner{}
	possible := false
	for view := range in.conds {
		p.next, p.gen = start, newGenerator()
		if view == rawView {
			p.gen.raw, p.gen.payload, p.gen.typeField = true, offset{}, offset{}
		} else {
			tags := uint32(4 * view)
			p.gen.payload, p.gen.typeField = p.gen.payload.plus(tags), p.gen.typeField.plus(tags)
		}
		c := p.expr(p.element(qualifiers{undefined: true}, false)).cond
		p.expect(")")
		p.gen.certain(c, 0)
		graph := optimize(lower(c))
		possible = possible || graph != reject
		in.conds[view], in.views[view] = c, assemble(graph, accept, reject)
	}
	p.gen, p.inside = outer, false
	if !possible {
		return never()
	}
	return compare(&value{op: inside, inner: in}, equal, constant(1))
}

// holds reports whether a packet inside a frame meets the expression.
func (in *inner) holds(data []byte, wireLen uint32) bool {
	var w walker
	w.walk(data)
	for _, v := range w.found[:w.count] {
		// A packet's length is that up to the frame's end.
		if in.views[v.kind].run(data[v.at:], int(max(wireLen, v.at)-v.at)) == accepted {
			return true
		}
	}
	return false
}

// reach is how many bytes from the start of a frame the expression can read.
func (in *inner) reach() (n uint64) {
	for i := range in.views {
		n = max(n, in.views[i].reach)
	}
	return innerReach + n
}

// depth is how many results computations have at a time.
func (in *inner) depth() (n int) {
	for i := range in.views {
		n = max(n, in.views[i].depth)
	}
	return n
}

// view is a packet inside a frame: where it begins and how it is read.
type view struct {
	kind uint8 // tags in front of it, or rawView
	at   uint32
}

// walker finds the packets inside a frame, from the outside to the inside. A header
// that is cut or malformed ends the walk.
type walker struct {
	data    []byte // the frame's start
	headers int    // seen so far
	found   [maxInside]view
	count   int
}

// walk finds the packets of a frame. The frame itself is none of them.
func (w *walker) walk(frame []byte) {
	w.data = frame[:min(len(frame), innerReach)]
	w.ethernet(0)
}

// has reports whether a header of n bytes at an offset is there to be read, and counts
// it.
func (w *walker) has(at, n int) bool {
	w.headers++
	return at+n <= len(w.data) && w.headers <= maxHeaders && w.count < maxInside
}

func (w *walker) half(at int) uint16 { return binary.BigEndian.Uint16(w.data[at:]) }

// add is that a packet is at an offset.
func (w *walker) add(kind, at int) {
	w.found[w.count] = view{uint8(kind), uint32(at)}
	w.count++
}

// frame is a frame of Ethernet inside another one.
func (w *walker) frame(at int) {
	if w.has(at, 14) {
		w.add(0, at)
		w.ethernet(at)
	}
}

// ethernet follows the header of a frame.
func (w *walker) ethernet(at int) {
	typ := at + 12
	for tags := 0; w.has(typ, 2); {
		kind := w.half(typ)
		if !ether.IsVLAN(kind) {
			w.carried(kind, typ+2, false)
			return
		}
		typ += 4
		if tags++; tags > maxTags || !w.has(typ, 2) {
			return
		}
		w.add(tags, at)
	}
}

// carried follows what a header carries by its type of Ethernet. inside: the packet of
// IP there is one inside the frame.
func (w *walker) carried(kind uint16, at int, inside bool) {
	switch kind {
	case ether.TypeIPv4, ether.TypeIPv6:
		if inside {
			w.packet(at)
		} else {
			w.ip(at)
		}
	case ether.TypeMPLS, ether.TypeMPLSUp:
		w.labels(at)
	case ether.TypePPPoES:
		if w.has(at, 8) {
			w.ppp(w.half(at+6), at+8)
		}
	case ether.TypeBridging:
		w.frame(at)
	}
}

func (w *walker) ppp(protocol uint16, at int) {
	switch uint32(protocol) {
	case pppTypes[ether.TypeIPv4], pppTypes[ether.TypeIPv6]:
		w.packet(at)
	case pppMPLS:
		w.labels(at)
	}
}

// labels follows a stack of MPLS.
func (w *walker) labels(at int) {
	what, behind, n := ether.Labels(w.data, at, maxHeaders-w.headers)
	w.headers += n
	switch what {
	case ether.Packet:
		w.packet(behind)
	case ether.Frame:
		w.frame(behind)
	}
}

// packet is a packet of IP inside the frame.
func (w *walker) packet(at int) {
	if w.has(at, 20) {
		w.add(rawView, at)
		w.ip(at)
	}
}

// ip follows the header of a packet.
func (w *walker) ip(at int) {
	if !w.has(at, 20) {
		return
	}
	switch w.data[at] >> 4 {
	case 4:
		size := int(w.data[at]&0xf) * 4
		if first := w.half(at+6)&0x1fff == 0; first && size >= 20 {
			w.above(w.data[at+9], at+size)
		}
	case 6:
		if w.has(at, 40) {
			w.extensions(w.data[at+6], at+40)
		}
	}
}

// extensions follows the headers behind that of IPv6.
func (w *walker) extensions(next uint8, at int) {
	for {
		switch next {
		case ether.ProtoHopByHop, ether.ProtoRouting, ether.ProtoDestination, ether.ProtoFragment:
		default:
			w.above(next, at)
			return
		}
		if !w.has(at, 8) || next == ether.ProtoFragment && w.half(at+2)&^7 != 0 { // a later fragment
			return
		}
		size := 8
		if next != ether.ProtoFragment {
			size += 8 * int(w.data[at+1])
		}
		next, at = w.data[at], at+size
	}
}

// above follows what is behind IP.
func (w *walker) above(proto uint8, at int) {
	switch proto {
	case ether.ProtoIPv4, ether.ProtoIPv6:
		w.packet(at)
	case ether.ProtoAH:
		if w.has(at, 8) {
			w.above(w.data[at], at+8+4*int(w.data[at+1]))
		}
	case ether.ProtoMPLS:
		w.labels(at)
	case ether.ProtoGRE:
		w.gre(at)
	case ether.ProtoUDP:
		if !w.has(at, 8) {
			return
		}
		switch w.half(at + 2) {
		case ether.PortVXLAN:
			w.headers++
			if frame, ok := ether.VXLAN(w.data, at+8); ok {
				w.frame(frame)
			}
		case ether.PortGeneve:
			w.geneve(at + 8)
		case ether.PortGTPU:
			packet, n, ok := ether.GTPU(w.data, at+8, maxHeaders-w.headers)
			if w.headers += 1 + n; ok {
				w.packet(packet)
			}
		}
	}
}

// gre follows GRE, and the header of ERSPAN behind it.
func (w *walker) gre(at int) {
	w.headers++
	kind, at, sequenced, ok := ether.GRE(w.data, at)
	if !ok {
		return
	}
	switch kind {
	case typeERSPAN: // without a sequence number it has no header
		if sequenced {
			at += 8
		}
		w.frame(at)
	case typeERSPAN3:
		if w.has(at, 12) {
			w.frame(at + 12 + int(w.data[at+11]&1)*8)
		}
	default:
		w.carried(kind, at, true)
	}
}

func (w *walker) geneve(at int) {
	if w.has(at, 8) && w.data[at]>>6 == 0 {
		w.carried(w.half(at+2), at+8+4*int(w.data[at]&0x3f), true)
	}
}
