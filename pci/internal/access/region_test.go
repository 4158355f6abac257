package access

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadsAndWritesAreSplitIntoAlignedAccesses(t *testing.T) {
	for _, c := range []struct {
		widest   int
		off      int64
		n        int
		accesses string // offset+length
		short    bool
	}{
		{8, 0, 8, "[0+8]", false},
		{4, 0, 8, "[0+4 4+4]", false},
		{8, 4, 8, "[4+4 8+4]", false}, // not aligned to 8
		{8, 0, 16, "[0+4 4+4 8+4 12+4]", false},
		{8, 3, 2, "[3+1 4+1]", false},
		{8, 2, 2, "[2+2]", false},
		{8, 1, 8, "[1+1 2+2 4+4 8+1]", false},
		{8, 30, 8, "[30+2]", true},
		{8, 31, 1, "[31+1]", false},
		{8, 32, 4, "[]", true},
		{8, 1 << 40, 4, "[]", true},
		{8, 0, 0, "[]", false},
	} {
		r := Region{Device: "dev", Index: 2, Size: 32, Widest: c.widest}
		accesses := []string{}
		access := func(p []byte, off int64) error {
			accesses = append(accesses, fmt.Sprintf("%d+%d", off, len(p)))
			for i := range p {
				p[i] = byte(off) + byte(i)
			}
			return nil
		}
		p := make([]byte, c.n)
		n, err := r.Read(p, c.off, access)
		require.Equal(t, c.accesses, fmt.Sprint(accesses))
		for i := range p {
			want := byte(c.off) + byte(i)
			if i >= n {
				want = 0xff
			}
			require.Equal(t, want, p[i])
		}
		accesses = accesses[:0]
		written, werr := r.Write(p, c.off, access)
		require.Equal(t, c.accesses, fmt.Sprint(accesses))
		require.Equal(t, n, written)
		if c.short {
			require.Less(t, n, c.n)
			require.Equal(t, io.EOF, err)
			require.ErrorIs(t, werr, io.ErrShortWrite)
			continue
		}
		require.Equal(t, c.n, n)
		require.NoError(t, err)
		require.NoError(t, werr)
	}
}

func TestAnErrorEndsReadsAndWrites(t *testing.T) {
	r := Region{Device: "dev", Index: 2, Size: 32, Widest: 8}
	broken := errors.New("broken")
	access := func(p []byte, off int64) error {
		if off == 8 {
			return broken
		}
		return nil
	}
	p := make([]byte, 16)
	n, err := r.Read(p, 0, access)
	require.Equal(t, 8, n)
	require.Equal(t, broken, err)
	require.Equal(t, "\xff\xff\xff\xff\xff\xff\xff\xff", string(p[8:]))
	n, err = r.Write(p, 0, access)
	require.Equal(t, 8, n)
	require.Equal(t, broken, err)

	_, err = r.Read(p, -1, access)
	require.EqualError(t, err, "dev: region 2: negative offset -1")
	require.Equal(t, byte(0xff), p[0])
	_, err = r.Write(p, -4, access)
	require.EqualError(t, err, "dev: region 2: negative offset -4")
	_, err = r.Write(p, 24, access)
	require.EqualError(t, err, "dev: region 2: write of 16 bytes at 0x18: the region has 0x20: short write")
}

func TestRegistersAreAlignedAndInTheRegion(t *testing.T) {
	r := Region{Device: "dev", Index: 2, Size: 30}
	for _, off := range []uint32{0, 4, 24} {
		require.NotPanics(t, func() { r.Check(off) })
	}
	for _, off := range []uint32{1, 2, 28, 32, 1<<32 - 4} {
		require.Panics(t, func() { r.Check(off) }, "%#x", off)
	}
	require.PanicsWithValue(t, "dev: region 2: register at 0x1c: want a multiple of 4 below 0x1e", func() { r.Check(28) })
}
