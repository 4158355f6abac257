package ring

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheckSize(t *testing.T) {
	for _, n := range []int{8, 16, 24, 512, 4088, 4096} {
		require.NoError(t, CheckSize(n), n)
	}
	for _, n := range []int{-8, 0, 1, 7, 9, 4097, 4104, 8192} {
		require.ErrorContains(t, CheckSize(n), "multiple of 8 from 8 to 4096", n)
	}
	require.NoError(t, CheckTxSize(8192))
	require.ErrorContains(t, CheckTxSize(8200), "from 8 to 8192")
}

func TestIndicesWrapAtTheEndOfAnySize(t *testing.T) {
	for _, size := range []uint32{1, 2, 3, 8, 24, 4096} {
		for i := range size {
			require.Equal(t, (i+1)%size, Next(i, size))
			require.Equal(t, (i+size-1)%size, Prev(i, size))
			require.Equal(t, i, Prev(Next(i, size), size))
			for _, n := range []uint32{0, 1, size / 2, size - 1, size} {
				require.Equal(t, (i+n)%size, Add(i, n, size))
			}
		}
	}
}

func TestDistanceAndFree(t *testing.T) {
	const size = 8
	for _, c := range []struct {
		name       string
		head, tail uint32
		held, free uint32
	}{
		{"empty at the start", 0, 0, 0, 7},
		{"empty in the middle", 5, 5, 0, 7},
		{"one", 0, 1, 1, 6},
		{"one over the end", 7, 0, 1, 6},
		{"full from the start", 0, 7, 7, 0},
		{"full over the end", 3, 2, 7, 0},
		{"all but one", 3, 1, 6, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.held, Distance(c.head, c.tail, size))
			require.Equal(t, c.free, Free(c.head, c.tail, size))
		})
	}
}

// A ring in all its states holds at most size-1 descriptors and never loses count.
func TestProducerAndConsumerAgree(t *testing.T) {
	const size = 24
	var head, tail, held uint32
	for step := range uint32(10_000) {
		if step%7 < 4 && Free(head, tail, size) > 0 || held == 0 {
			tail, held = Next(tail, size), held+1
		} else {
			n := min(held, step%3+1)
			head, held = Add(head, n, size), held-n
		}
		require.Equal(t, held, Distance(head, tail, size))
		require.Equal(t, size-1-held, Free(head, tail, size))
	}
}
