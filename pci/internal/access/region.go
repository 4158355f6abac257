package access

import (
	"fmt"
	"io"
)

// Region describes the accesses that a region supports.
type Region struct {
	Device string // name of the device, for messages
	Index  int
	Size   int64 // bytes
	Widest int   // bytes of the widest access: 4 or 8
}

// Check panics unless off is the offset of a 32-bit register.
func (r *Region) Check(off uint32) {
	if off%4 != 0 || int64(off)+4 > r.Size {
		r.panicOffset(off)
	}
}

// panicOffset is not inlined, so that Check is.
//
//go:noinline
func (r *Region) panicOffset(off uint32) {
	panic(fmt.Sprintf("%s: region %d: register at %#x: want a multiple of 4 below %#x", r.Device, r.Index, off, r.Size))
}

// Read splits ReadAt into accesses by read. Aligned lengths of 1, 2, 4 and 8 are one
// access (8 only if Widest is 8). Other lengths become accesses of 4 bytes, with
// narrower ones at both ends. Bytes after an error or beyond the region are all ones;
// the error is io.EOF beyond the region.
func (r *Region) Read(p []byte, off int64, read func(p []byte, off int64) error) (n int, err error) {
	fits, err := r.bound(len(p), off)
	for n < fits && err == nil {
		w := r.width(len(p), off+int64(n), fits-n)
		if err = read(p[n:n+w], off+int64(n)); err == nil {
			n += w
		}
	}
	for i := range p[n:] {
		p[n+i] = 0xff
	}
	if n < len(p) && err == nil {
		err = io.EOF
	}
	return n, err
}

// Write splits WriteAt into accesses by write, as Read does. The error wraps
// io.ErrShortWrite beyond the region.
func (r *Region) Write(p []byte, off int64, write func(p []byte, off int64) error) (n int, err error) {
	fits, err := r.bound(len(p), off)
	for n < fits && err == nil {
		w := r.width(len(p), off+int64(n), fits-n)
		if err = write(p[n:n+w], off+int64(n)); err == nil {
			n += w
		}
	}
	if n < len(p) && err == nil {
		err = fmt.Errorf("%s: region %d: write of %d bytes at %#x: the region has %#x: %w", r.Device, r.Index, len(p), off, r.Size, io.ErrShortWrite)
	}
	return n, err
}

// bound returns how many of n bytes at off are in the region.
func (r *Region) bound(n int, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("%s: region %d: negative offset %d", r.Device, r.Index, off)
	}
	return int(min(int64(n), max(r.Size-off, 0))), nil
}

// width returns the length of the next access: the widest that alignment and left
// allow. It is 8 only if the caller asked for exactly 8, because registers have 32
// bits in general.
func (r *Region) width(asked int, off int64, left int) int {
	w := 4
	if asked == 8 && r.Widest == 8 {
		w = 8
	}
	for w > left || off%int64(w) != 0 {
		w /= 2
	}
	return w
}
