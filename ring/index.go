package ring

import "fmt"

// Sizes of a ring in descriptors. Every size is a multiple of Step, because RDLEN
// and TDLEN count in units of 128 bytes (datasheet 8.2.3.8.3).
const (
	MinSize = 8
	MaxSize = 4096
	Step    = 8

	MaxTxSize = 8192 // of a transmit ring: Linux' IXGBE_MAX_TXD_82599
)

// CheckSize returns an error if the 82599 does not support rings of n descriptors.
func CheckSize(n int) error { return check(n, MaxSize) }

// CheckTxSize is CheckSize for transmit rings.
func CheckTxSize(n int) error { return check(n, MaxTxSize) }

func check(n, most int) error {
	if n < MinSize || n > most || n%Step != 0 {
		return fmt.Errorf("ring of %d descriptors: want a multiple of %d from %d to %d", n, Step, MinSize, most)
	}
	return nil
}

// The functions below take indices within 0 <= i < size, and any size from 1.

// Next returns the index after i.
func Next(i, size uint32) uint32 {
	if i++; i == size {
		return 0
	}
	return i
}

// Prev returns the index before i.
func Prev(i, size uint32) uint32 {
	if i == 0 {
		return size - 1
	}
	return i - 1
}

// Add returns the index n places after i, 0 <= n <= size.
func Add(i, n, size uint32) uint32 {
	if i += n; i >= size {
		i -= size
	}
	return i
}

// Distance returns the number of steps forward from one index to another: 0 if
// they are equal, never size.
func Distance(from, to, size uint32) uint32 {
	if to >= from {
		return to - from
	}
	return size - from + to
}

// Free returns how many descriptors a producer at tail may still fill while the
// consumer is at head. One always stays empty, so that a full ring (Free 0)
// and an empty one (head == tail) differ.
func Free(head, tail, size uint32) uint32 {
	return size - 1 - Distance(head, tail, size)
}
