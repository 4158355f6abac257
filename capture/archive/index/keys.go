package index

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
)

// level is the prefix length of an address that a key is computed from. Keys of
// shorter prefixes are for networks.
type level uint8

const (
	hosts  level = iota // /32 and /128
	subnet              // /24 and /64
	site                // /16 and /48
	region              // /8 and /32
	levels
)

// length returns the level's prefix length in bits.
func (l level) length(v6 bool) int {
	if v6 {
		return [levels]int{128, 64, 48, 32}[l]
	}
	return [levels]int{32, 24, 16, 8}[l]
}

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood 2014): every bit of x affects
// every bit of the result.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// key4 and key6 hash the first bits of an address, as many as the level has. These
// functions are part of the format.
func key4(addr uint32, l level) uint64 {
	return mix(uint64(addr&^(1<<(8*l)-1)) | uint64(l+1)<<40)
}

func key6(hi, lo uint64, l level) uint64 {
	switch l {
	case hosts:
	case subnet:
		lo = 0
	case site:
		hi, lo = hi&^0xffff, 0
	default:
		hi, lo = hi&^0xffffffff, 0
	}
	return mix(mix(hi^uint64(l+1)<<8) ^ lo ^ 6)
}

// prefixKey returns the key of an address' prefix.
func prefixKey(a netip.Addr, l level) uint64 {
	if a.Is4() {
		b := a.As4()
		return key4(binary.BigEndian.Uint32(b[:]), l)
	}
	b := a.As16()
	return key6(binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:]), l)
}

const (
	// maxLevel is how many keys of one level a block's entry can have; with more of
	// them the level is left out.
	maxLevel = 1250

	// slots is the size of the hash table of keys: a power of two of which the keys of
	// all levels use less than two thirds.
	slots    = 1 << slotBits
	slotBits = 13
)

// collector collects the distinct addresses, ports and IP protocols of a block's frames.
type collector struct {
	seed   uint64           // odd, random: a sender of frames cannot choose their slots
	table  []uint64         // keys by hash, 0: free
	keys   [levels][]uint64 // the distinct ones
	full   [levels]bool     // more than maxLevel: the keys are not used
	ports  [1 << 16 / 64]uint64
	nport  int
	protos [256 / 64]uint64
	pairs  [1 << pairBits]uint64 // recently added pairs of IPv4 addresses, by hash
}

const pairBits = 9

func newCollector() *collector {
	c := &collector{table: make([]uint64, slots), seed: rand.Uint64() | 1}
	for l := range c.keys {
		c.keys[l] = make([]uint64, 0, maxLevel)
	}
	return c
}

func (c *collector) reset() {
	n := 0
	for l := range c.keys {
		n += len(c.keys[l])
	}
	if n > slots/16 {
		clear(c.table)
	} else {
		for l := range c.keys {
			for _, k := range c.keys[l] {
				c.clearSlots(k)
			}
		}
	}
	for l := range c.keys {
		c.keys[l] = c.keys[l][:0]
	}
	c.full = [levels]bool{}
	clear(c.ports[:])
	c.nport = 0
	c.protos = [4]uint64{}
	clear(c.pairs[:])
}

// slot returns the first slot of a key.
func (c *collector) slot(k uint64) uint64 { return k * c.seed >> (64 - slotBits) }

// clearSlots clears the slots from a key's first one on. After all keys the whole table
// is clear.
func (c *collector) clearSlots(k uint64) {
	for i := c.slot(k); c.table[i] != 0; i = (i + 1) % slots {
		c.table[i] = 0
	}
}

// add adds a key, and reports whether it is new.
func (c *collector) add(k uint64, l level) bool {
	if k == 0 {
		k = 1
	}
	for i := c.slot(k); ; i = (i + 1) % slots {
		switch c.table[i] {
		case k:
			return false
		case 0:
			if len(c.keys[l]) == maxLevel {
				c.full[l] = true
				return true
			}
			c.table[i] = k
			c.keys[l] = append(c.keys[l], k)
			return true
		}
	}
}

// addr4 adds an IPv4 address.
func (c *collector) addr4(b []byte) {
	a := binary.BigEndian.Uint32(b)
	for l := hosts; l < levels; l++ {
		// A known key was added with its shorter prefixes.
		if !c.full[l] && !c.add(key4(a, l), l) {
			return
		}
	}
}

// addr6 adds an IPv6 address of which b has the first bytes, at least 4: an address that
// is cut still has its networks.
func (c *collector) addr6(b []byte) {
	var a [16]byte
	bits := copy(a[:], b) * 8
	hi, lo := binary.BigEndian.Uint64(a[:]), binary.BigEndian.Uint64(a[8:])
	for l := hosts; l < levels; l++ {
		if l.length(true) <= bits && !c.full[l] && !c.add(key6(hi, lo, l), l) {
			return
		}
	}
}

func (c *collector) port(p uint16) {
	if bit := uint64(1) << (p % 64); c.ports[p/64]&bit == 0 {
		c.ports[p/64] |= bit
		c.nport++
	}
}

func (c *collector) proto(p byte) { c.protos[p/64] |= 1 << (p % 64) }
