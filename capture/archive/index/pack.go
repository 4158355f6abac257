package index

import (
	"math/bits"
	"slices"
)

const (
	// fineBits is the precision of keys if the set fits: of the blocks without an
	// address one in 2^9 seems to have it. coarseBits is the smallest useful one.
	fineBits   = 9
	coarseBits = 5
)

// selections are sets of levels, best first. Most queries are for hosts; a network can
// be found by a shorter prefix, with more blocks read.
var selections = []uint8{
	1<<hosts | 1<<subnet | 1<<site | 1<<region,
	1<<hosts | 1<<site | 1<<region,
	1<<hosts | 1<<region,
	1 << hosts,
	1<<subnet | 1<<site | 1<<region,
	1<<site | 1<<region,
	1 << region,
}

// pack encodes the collected sets into e.
func (c *collector) pack(e *Entry, scratch []uint64, out []byte) ([]uint64, []byte) {
	scratch, out = c.packAddrs(e, scratch, out[:0])
	na := len(out)
	out = c.packPorts(e, out)
	np := len(out)
	out = c.packProtos(e, out)
	e.addrs.b, e.ports.b, e.protos.b = out[:na], out[na:np], out[np:] // out may have moved
	return scratch, out
}

// fit selects the levels and the precision that fit: the best selection that fits with
// a good precision, else the best with a poor one.
func (c *collector) fit() (selection, bits uint8, n int) {
	for _, least := range []uint8{fineBits - 2, coarseBits} {
		for _, s := range selections {
			n, lost := 0, false
			for l := range c.keys {
				if s>>l&1 != 0 {
					n += len(c.keys[l])
					lost = lost || c.full[l]
				}
			}
			for r := uint8(fineBits); r >= least && !lost; r-- {
				if riceSize(n, uint64(n)<<r, riceBits(n, uint64(n)<<r)) <= addrBytes {
					return s, r, n
				}
			}
		}
	}
	return 0, 0, 0
}

func (c *collector) packAddrs(e *Entry, scratch []uint64, out []byte) ([]uint64, []byte) {
	selection, r, n := c.fit()
	e.addrLevels, e.addrBits, e.addrs = selection, r, riceSet{}
	if selection == 0 {
		return scratch, out
	}
	limit := uint64(n) << r
	scratch = c.sorted(selection, limit, slices.Grow(scratch[:0], n)[:n])
	w := riceWriter{out: out, k: riceBits(n, limit)}
	for _, v := range scratch {
		w.add(v)
	}
	out = w.end()
	e.addrs = riceSet{n: n, k: w.k}
	return scratch, out
}

// maxBucket is how many members with the same first byte are sorted by insertion.
const maxBucket = 100

// sorted fills out with the members for the levels' keys, in order. Keys are
// distributed evenly, so sorting them by the first byte nearly sorts them.
func (c *collector) sorted(selection uint8, limit uint64, out []uint64) []uint64 {
	var start [257]int
	for l := range c.keys {
		if selection>>l&1 != 0 {
			for _, k := range c.keys[l] {
				start[k>>56+1]++
			}
		}
	}
	for i := range 256 {
		start[i+1] += start[i]
	}
	for l := range c.keys {
		if selection>>l&1 != 0 {
			for _, k := range c.keys[l] {
				v, _ := bits.Mul64(k, limit)
				at := &start[k>>56]
				out[*at] = v
				*at++
			}
		}
	}
	if start[0] > maxBucket {
		slices.Sort(out)
		return out
	}
	for i := 1; i < 256; i++ { // start[i] is now the end of bucket i
		if start[i]-start[i-1] > maxBucket {
			slices.Sort(out) // unevenly distributed addresses
			return out
		}
	}
	for i := 1; i < len(out); i++ {
		v, j := out[i], i
		for ; j > 0 && out[j-1] > v; j-- {
			out[j] = out[j-1]
		}
		out[j] = v
	}
	return out
}

// packPorts encodes all ports, without as many of their lowest bits as needed to fit.
func (c *collector) packPorts(e *Entry, out []byte) []byte {
	shift, n := uint8(0), c.nport
	for riceSize(n, 1<<16>>shift, riceBits(n, 1<<16>>shift)) > portBytes {
		shift++
		n = c.coarse(shift)
	}
	w := riceWriter{out: out, k: riceBits(n, 1<<16>>shift)}
	c.eachPort(shift, func(p uint64) { w.add(p) })
	e.portShift, e.ports = shift, riceSet{n: n, k: w.k}
	return w.end()
}

func (c *collector) packProtos(e *Entry, out []byte) []byte {
	n := 0
	for _, word := range c.protos {
		n += bits.OnesCount64(word)
	}
	w := riceWriter{out: out, k: riceBits(n, 256)}
	for i, word := range c.protos {
		for ; word != 0; word &= word - 1 {
			w.add(uint64(i*64 + bits.TrailingZeros64(word)))
		}
	}
	e.protos = riceSet{n: n, k: w.k}
	return w.end()
}

// eachPort calls f with each distinct port without its lowest bits.
func (c *collector) eachPort(shift uint8, f func(uint64)) {
	last := ^uint64(0)
	for i, word := range c.ports {
		for ; word != 0; word &= word - 1 {
			if p := uint64(i*64+bits.TrailingZeros64(word)) >> shift; p != last {
				f(p)
				last = p
			}
		}
	}
}

// coarse counts the distinct ports without their lowest bits.
func (c *collector) coarse(shift uint8) (n int) {
	c.eachPort(shift, func(uint64) { n++ })
	return n
}
