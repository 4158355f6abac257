package dedup

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"

	"github.com/ixcap/ixcap/ring"
)

// hashing is what hashFrames needs of a table.
type hashing struct {
	keys  [4][16]byte // random
	most  uint64      // bytes hashed of a frame
	seen  []uint64    // of all records; the slots of the frames are prefetched
	refs  []uint64    // of all records
	mask  uint64      // slots - 1
	pools uint64      // records of a slot
	tags  uint64      // all ones if a stripped tag is part of the hash, else 0
}

// useAES: hash with instructions for AES. Tests change it.
var useAES = hasAES()

// hashFrames is hashFramesGo, or hashFramesAES if the processor can.
func hashFrames(frames []ring.Frame, keep []uint32, out []uint64, p *hashing) int {
	if useAES {
		return hashFramesAES(frames, keep, out, p)
	}
	return hashFramesGo(frames, keep, out, p)
}

// hashFramesGo hashes the length, the first bytes and the stripped tag of each frame
// that is kept, and writes the hashes to out. It stops at a frame in several buffers,
// or too long to be stored, and returns the number of frames before.
func hashFramesGo(frames []ring.Frame, keep []uint32, out []uint64, p *hashing) int {
	for i := range frames {
		f := &frames[i]
		if keep[i] == 0 {
			continue
		}
		if len(f.Data) != int(f.Len) || f.Len > MaxFrame {
			return i
		}
		key := uint64(f.Len) | uint64(strippedTag(f))<<32&p.tags
		out[i] = hashOf(key^binary.LittleEndian.Uint64(p.keys[0][:]), f.Data[:min(uint64(f.Len), p.most)])
	}
	return len(frames)
}

// shortest is the least number of bytes that hashFrames hashes on every machine.
const shortest = 16

// strippedTag returns the tag that the device removed from a frame, with a bit that
// distinguishes tag 0 from none.
func strippedTag(f *ring.Frame) uint32 {
	const has = ring.Stripped | ring.HasVLAN
	if f.Info&has != has {
		return 0
	}
	return 1<<16 | uint32(f.VLAN)
}

// short returns fewer than 8 bytes as a word.
func short(b []byte) uint64 {
	var w uint64
	for i, c := range b {
		w |= uint64(c) << (8 * i)
	}
	return w
}

// hashOf hashes a key and bytes. Each pair of words is multiplied to 128 bits and
// folded; the products do not depend on each other.
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

// A digest stands for bytes that are not stored. It is NH of UMAC (RFC 4418, 5.2)
// with words of 64 bits, which are added to secret random words and multiplied in
// pairs: two different frames of one length have the same digest with a probability
// of 2^-64, whoever chooses the frames (Black et al., UMAC, CRYPTO 1999, theorem 4.2).
type digest struct{ hi, lo uint64 }

// secrets are the random words of digests, for the longest frame.
type secrets [(MaxFrame + 15) / 16 * 2]uint64

func newSecrets() *secrets {
	s := new(secrets)
	var word [8]byte
	for i := range s {
		rand.Read(word[:])
		s[i] = binary.LittleEndian.Uint64(word[:])
	}
	return s
}

// digest returns the digest of bytes. Bytes are compared with others of their length
// only, so the last words are filled up with zeros.
func (s *secrets) digest(b []byte) (d digest) {
	i := 0
	for ; len(b) >= 16; b = b[16:] {
		d = d.add(binary.LittleEndian.Uint64(b)+s[i], binary.LittleEndian.Uint64(b[8:])+s[i+1])
		i += 2
	}
	if len(b) > 0 {
		var last [16]byte
		copy(last[:], b)
		d = d.add(binary.LittleEndian.Uint64(last[:])+s[i], binary.LittleEndian.Uint64(last[8:])+s[i+1])
	}
	return d
}

// add adds the product of two words.
func (d digest) add(a, b uint64) digest {
	hi, lo := bits.Mul64(a, b)
	var carry uint64
	d.lo, carry = bits.Add64(d.lo, lo, 0)
	d.hi, _ = bits.Add64(d.hi, hi, carry)
	return d
}
