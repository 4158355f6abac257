package pcapfilter

import "github.com/ixcap/ixcap/capture/internal/ether"

// maxChain is how many headers behind that of IP a chain is followed through.
const maxChain = 64

// protoChain is "PROTO protochain N": that a protocol is in the chain of headers of
// IPv4 (authentication) or IPv6 (authentication and extensions).
func (g *generator) protoChain(n uint32, q qualifiers) *cond {
	switch {
	case q.dir != "":
		fail(g.at, "%s does not go with protochain", q.dir)
	case q.proto != "" && q.proto != "ip" && q.proto != "ip6":
		fail(g.at, "%s protochain: write ip, ip6 or nothing before protochain", q.proto)
	case n > 255:
		fail(g.at, "protochain %d: numbers of protocols go up to 255", n)
	case len(g.tunnels) > 0:
		fail(g.at, "protochain behind %s: write inner (protochain %d)", g.tunnels[0].word, n)
	}
	in := func(version uint8, typ uint32) *cond {
		v := &value{op: inChain, off: g.network(0).off, size: version, k: n}
		return all(g.linkType(typ), compare(v, equal, constant(1)))
	}
	switch q.proto {
	case "ip":
		return in(4, ether.TypeIPv4)
	case "ip6":
		return in(6, ether.TypeIPv6)
	}
	return anyOf(in(4, ether.TypeIPv4), in(6, ether.TypeIPv6))
}

// chainHas follows the headers of the packet of IP that begins at off. It returns 1 if
// one of them is of the protocol, and false if the frame ends before that is known.
// Behind maxChain headers the result is 0.
func chainHas(data []byte, off uint64, version uint8, proto byte) (uint32, bool) {
	const protocol4, next6, header6 = 9, 6, 40
	place, behind := off+protocol4, uint64(0)
	if version == 6 {
		place, behind = off+next6, off+header6
	}
	if place >= uint64(len(data)) {
		return 0, false
	}
	if version == 4 {
		behind = off + uint64(data[off]&0xf)<<2
	}
	next := data[place]
	for range maxChain {
		if next == proto {
			return 1, true
		}
		unit, extra := uint64(8), uint64(1)
		switch next {
		case ether.ProtoAH:
			unit, extra = 4, 2
		case ether.ProtoHopByHop, ether.ProtoDestination, ether.ProtoRouting, ether.ProtoFragment:
			if version == 4 {
				return 0, true
			}
		default:
			return 0, true
		}
		if behind+1 >= uint64(len(data)) {
			return 0, false
		}
		next = data[behind]
		behind += (uint64(data[behind+1]) + extra) * unit
	}
	return 0, true
}
