package dedup

import (
	"encoding/binary"
	"math/bits"
)

// short returns fewer than 8 bytes as a word.
func short(b []byte) uint64 {
	var w uint64
	for i, c := range b {
		w |= uint64(c) << (8 * i)
	}
	return w
}

// hashOf hashes a frame's key and first bytes. Each pair of words is multiplied to
// 128 bits and folded; the products do not depend on each other. The hash needs no
// secret: with chosen frames, a sender can only cause duplicates to be missed.
func hashOf(key uint64, b []byte) uint64 {
	h := key
	var lo, hi uint64
	switch {
	case len(b) >= 16:
		tail := b[len(b)-16:]
		lo, hi = binary.LittleEndian.Uint64(tail), binary.LittleEndian.Uint64(tail[8:])
		for ; len(b) > 16; b = b[16:] {
			pair := fold(binary.LittleEndian.Uint64(b)^key0, binary.LittleEndian.Uint64(b[8:])^key1)
			h = bits.RotateLeft64(h, 23) ^ pair // rotated, so that the order counts
		}
	case len(b) >= 8:
		lo, hi = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[len(b)-8:])
	default:
		lo = short(b)
	}
	return fold(h^key2, fold(lo^key0, hi^key1)^key3)
}

// Digits of pi.
const (
	key0 = 0x243f6a8885a308d3
	key1 = 0x13198a2e03707345
	key2 = 0xa4093822299f31d1
	key3 = 0x082efa98ec4e6c89
)

func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}
