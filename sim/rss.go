package sim

import "encoding/binary"

// toeplitz is the RSS hash (datasheet 7.1.2.8) as a table per position of an input
// byte: the XOR of the key windows that the byte's set bits select. The longest
// input has 36 bytes: two IPv6 addresses and two ports.
type toeplitz [36][256]uint32

// newKey builds the tables for a key of 40 bytes.
func (t *toeplitz) newKey(key *[40]byte) {
	for pos := range t {
		var window [8]uint32 // 32 bits of the key from each bit of the byte on
		v := binary.BigEndian.Uint64(append(key[pos:min(pos+8, 40):min(pos+8, 40)], make([]byte, 8)...))
		for bit := range window {
			window[bit] = uint32(v << bit >> 32)
		}
		for b := range 256 {
			var h uint32
			for bit, w := range window {
				if b&(0x80>>bit) != 0 {
					h ^= w
				}
			}
			t[pos][b] = h
		}
	}
}

// hash hashes up to 36 bytes.
func (t *toeplitz) hash(in []byte) uint32 {
	var h uint32
	for i, b := range in {
		if i >= len(t) {
			break
		}
		h ^= t[i][b]
	}
	return h
}

// hash12 is hash of IPv4 addresses and ports, adjacent in a header without
// options.
func (t *toeplitz) hash12(p *[12]byte) uint32 {
	return t[0][p[0]] ^ t[1][p[1]] ^ t[2][p[2]] ^ t[3][p[3]] ^
		t[4][p[4]] ^ t[5][p[5]] ^ t[6][p[6]] ^ t[7][p[7]] ^
		t[8][p[8]] ^ t[9][p[9]] ^ t[10][p[10]] ^ t[11][p[11]]
}

// hashPorts is hash of IPv4 addresses and the ports at the start of l4.
func (t *toeplitz) hashPorts(addrs *[8]byte, l4 []byte) uint32 {
	var in [12]byte
	copy(in[:], addrs[:])
	copy(in[8:], l4[:4])
	return t.hash12(&in)
}

// Fields of MRQC: the hashed protocols.
const (
	mrqcTCP4 = 1 << 16
	mrqcIP4  = 1 << 17
	mrqcIP6  = 1 << 20
	mrqcTCP6 = 1 << 21
	mrqcUDP4 = 1 << 22
	mrqcUDP6 = 1 << 23
)

// MRQC.MRQE: how queues are assigned (datasheet 8.2.3.7.12).
const (
	mrqeRSS        = 0x1
	mrqePools64    = 0x8 // 64 pools of 2 queues
	mrqePools32RSS = 0xa // 32 pools of 4 queues
	mrqePools64RSS = 0xb // 64 pools of 2 queues
)

// configurePools decodes what assigns queues within pools (datasheet 7.1.2.2).
func (n *NIC) configurePools(c *rxConfig) {
	c.pool = n.reg[rPFVTCTL/4] >> 7 & 0x3f
	for i := range c.rssMask {
		bits := n.reg[rPSRTYPE/4+i] >> 29
		c.rssMask[i] = uint8(min(1<<bits, c.perPool) - 1)
		if c.rss == 0 || c.perPool == 0 {
			c.rssMask[i] = 0
		}
	}
}

// queueFixed is the bit of meta.queue that a filter sets for a queue that it chose:
// pools do not change it.
const queueFixed = 1 << 31

// poolQueue returns the queue of a frame in a pool: that of a filter, or the pool's
// by the low bits of the RSS index.
func (c *rxConfig) poolQueue(pool uint32, m meta) uint32 {
	if m.queue&queueFixed != 0 {
		return m.queue &^ queueFixed
	}
	return (pool*c.perPool + m.queue&uint32(c.rssMask[pool])) & (queues - 1)
}

// RSS types of the receive descriptor.
const (
	rssNone = 0
	rssTCP4 = 1
	rssIP4  = 2
	rssTCP6 = 3
	rssIP6  = 5
	rssUDP4 = 7
	rssUDP6 = 8

	rssFlowDirector = 15 // the hash is the number of a Flow Director filter
)
