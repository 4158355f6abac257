package driver

import (
	"encoding/binary"
	"net/netip"
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

// QueueOf returns the queue of an RSS hash among n: the indirection table is indexed
// by the hash's low 7 bits and filled round robin.
func QueueOf(hash uint32, n int) int { return int(hash&127) % n }
