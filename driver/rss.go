package driver

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"

	"github.com/ixcap/ixcap/driver/internal/reg"
)

// RSSKey is the key of the Toeplitz hash (7.1.2.8.1).
type RSSKey [40]byte

// MicrosoftKey is the key of Microsoft's RSS verification suite, the default of many
// drivers.
var MicrosoftKey = RSSKey{
	0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67,
	0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb,
	0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
	0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
}

// SymmetricKey, the default, gives both directions of a connection the same hash, hence the
// same queue: a key that repeats every 16 bits does not change when addresses
// or ports are exchanged (Woo and Park, "Scalable TCP Session Monitoring with
// Symmetric Receive-side Scaling", 2012).
var SymmetricKey = func() (k RSSKey) {
	for i := range k {
		k[i] = [2]byte{0x6d, 0x5a}[i%2]
	}
	return k
}()

// Toeplitz returns the hash of input as the device computes it. input has at most
// 36 bytes: the key has 32 bits more than the longest input.
func (k *RSSKey) Toeplitz(input []byte) uint32 {
	window := uint64(binary.BigEndian.Uint32(k[:4])) << 32
	var hash uint32
	for i, b := range input[:min(len(input), len(k)-4)] {
		window |= uint64(k[i+4]) << 24
		for range 8 {
			if b&0x80 != 0 {
				hash ^= uint32(window >> 32)
			}
			b <<= 1
			window <<= 1
		}
	}
	return hash
}

// Hash returns the device's hash of a frame between two endpoints: with ports for
// TCP and UDP, without (both 0) for other IP. Both addresses are of one family.
func (k *RSSKey) Hash(src, dst netip.AddrPort) uint32 {
	var in [36]byte
	b := append(in[:0], src.Addr().AsSlice()...)
	b = append(b, dst.Addr().AsSlice()...)
	if src.Port() != 0 || dst.Port() != 0 {
		b = binary.BigEndian.AppendUint16(b, src.Port())
		b = binary.BigEndian.AppendUint16(b, dst.Port())
	}
	return k.Toeplitz(b)
}

// RSSTableSize is the number of entries of the indirection table (7.1.2.8). That of an
// X550 has 512.
const RSSTableSize = 128

// RSS spreads frames over the receive queues: the low 7 bits of the hash of a frame's
// addresses and ports select an entry of the table, which is the queue. Frames without
// a hash go to queue 0 (see HashFields).
type RSS struct {
	Key    *RSSKey    // nil = SymmetricKey
	Fields HashFields // hashed protocols; 0 = AllFields

	// Table is the queue by the low bits of the hash, below MaxRSSQueues; nil = all of
	// these queues in turn. Its length is RSSTableSize, or that of the port's own table,
	// which is filled with the shorter one in turn.
	Table []int
}

// HashFields is a set of protocols whose frames are hashed: TCP and UDP with ports,
// IPv4 and IPv6 with the addresses only, for what none of the others covers. The chip
// hashes below one 802.1Q tag. It does not hash (RSS type 0, queue 0) what is not IP to
// it: QinQ, MPLS, PPPoE. A fragment, also the first, has no ports to it: fragments of
// UDP are hashed by addresses, and come to another queue than whole datagrams of their
// flow unless HashUDPv4 is off.
type HashFields uint8

const (
	HashTCPv4 HashFields = 1 << iota
	HashUDPv4
	HashIPv4
	HashTCPv6
	HashUDPv6
	HashIPv6

	AllFields = HashTCPv4 | HashUDPv4 | HashIPv4 | HashTCPv6 | HashUDPv6 | HashIPv6
)

// mrqcFields are the fields of MRQC by the bit of HashFields.
var mrqcFields = [...]reg.Field{
	reg.MRQC_TCP_IPV4, reg.MRQC_UDP_IPV4, reg.MRQC_IPV4,
	reg.MRQC_TCP_IPV6, reg.MRQC_UDP_IPV6, reg.MRQC_IPV6,
}

// withDefaults returns r with defaults for zero values, or an error if it is invalid for
// a port of a model with that number of queues.
func (r RSS) withDefaults(queues int, m model) (RSS, error) {
	key := SymmetricKey
	if r.Key != nil {
		key = *r.Key
	}
	r.Key = &key
	if r.Fields == 0 {
		r.Fields = AllFields
	}
	if r.Fields&^AllFields != 0 {
		return r, fmt.Errorf("hashed fields %#x: want a set of %#x", r.Fields, AllFields)
	}
	entries, reached := m.rssTable()
	most := min(queues, reached)
	table := make([]int, entries)
	if r.Table != nil && len(r.Table) != len(table) && len(r.Table) != RSSTableSize {
		return r, fmt.Errorf("indirection table of %d entries: want %d", len(r.Table), len(table))
	}
	for i := range table {
		table[i] = i % most
		if r.Table != nil {
			table[i] = r.Table[i%len(r.Table)]
		}
		if table[i] < 0 || table[i] >= most {
			return r, fmt.Errorf("indirection table: queue %d at %d: want 0 to %d", table[i], i, most-1)
		}
	}
	r.Table = table
	return r, nil
}

// QueueOf returns the queue of a hash, for an RSS of Port.RSS or Port.Config.
func (r RSS) QueueOf(hash uint32) int { return r.Table[hash%uint32(len(r.Table))] }

// RSS returns how frames are spread now.
func (p *Port) RSS() RSS {
	p.lockState()
	defer p.state.Unlock()
	return p.cfg.RSS
}

// SetRSS changes how frames are spread, also while they arrive: none is lost. A frame that
// arrives during the change, which takes some microseconds, may go to the queue of the old
// or the new table, or have a hash of both keys. Frames of one flow in two queues have no
// order among each other but that of their stamps.
func (p *Port) SetRSS(r RSS) error {
	if err := p.physical("set RSS"); err != nil {
		return err
	}
	r, err := r.withDefaults(p.cfg.rssQueues(), p.model)
	if err != nil {
		return fmt.Errorf("set RSS of %s: %w", p.dev.Name(), err)
	}
	p.lockState()
	defer p.state.Unlock()
	if p.closed {
		return fmt.Errorf("set RSS of %s: port is closed: %w", p.dev.Name(), os.ErrClosed)
	}
	p.storeRSS(r)
	if err := p.err(); err != nil {
		return fmt.Errorf("set RSS of %s: %w", p.dev.Name(), err)
	}
	p.cfg.RSS = r
	return nil
}

// retaEntries is the number of entries of a RETA or ERETA register.
const retaEntries = 4

// storeRSS writes the registers of RSS. The hash is computed with one queue too:
// packages above use it.
func (p *Port) storeRSS(r RSS) {
	for i := range len(r.Key) / 4 {
		p.store(reg.RSSRK(i), binary.LittleEndian.Uint32(r.Key[4*i:]))
	}
	for i := range len(r.Table) / retaEntries {
		var v uint32
		for j, q := range r.Table[i*retaEntries:][:retaEntries] {
			v |= uint32(q) << (8 * j)
		}
		if i < RSSTableSize/retaEntries {
			p.store(reg.RETA(i), v)
		} else {
			p.store(reg.ERETA(i-RSSTableSize/retaEntries), v)
		}
	}
	v := reg.MRQC_MRQE.Val(p.pools.mrqe())
	for i, f := range mrqcFields {
		if r.Fields>>i&1 != 0 {
			v |= f.Val(1)
		}
	}
	p.store(reg.MRQC, v)
}
