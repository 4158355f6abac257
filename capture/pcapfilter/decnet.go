package pcapfilter

import (
	"strconv"
	"strings"
)

// decnetHost is "decnet host AREA.NODE": an address of DECnet phase IV. Its routing
// header begins behind a length of 2 bytes, or behind one byte more of padding, and
// has a short and a long format; the lower 3 bits of its flags tell them apart.
func (g *generator) decnetHost(text string, q qualifiers) *cond {
	parts := strings.Split(text, ".")
	if len(parts) != 2 {
		fail(g.at, "decnet host %s: write AREA.NODE, such as 10.15", text)
	}
	area, err := strconv.ParseUint(parts[0], 10, 6)
	node, err2 := strconv.ParseUint(parts[1], 10, 10)
	if err != nil || err2 != nil {
		fail(g.at, "decnet host %s: areas go up to 63, nodes up to 1023", text)
	}
	return g.decnetAddress(uint32(area<<10|node), q.dir)
}

// decnetAddress is that an address, which is little-endian in the frame, is of a
// direction.
func (g *generator) decnetAddress(addr uint32, dir string) *cond {
	const short, long, kind, padding = 2, 6, 0x07, 0x81
	wire := addr>>8&0xff | addr&0xff<<8
	flags := g.network(2)
	one := func(inShort, inLong uint32) *cond {
		in := func(format, place uint32) *cond {
			return anyOf(
				all(masked(flags, 1, format, kind), field(flags.plus(place), 2, wire)),
				all(masked(flags, 2, padding<<8|format, 0xff00|kind), field(flags.plus(1+place), 2, wire)))
		}
		return all(g.linkType(typeDECnet), anyOf(in(short, inShort), in(long, inLong)))
	}
	return direct(dir, func() *cond { return one(3, 15) }, func() *cond { return one(1, 7) })
}
