//go:build !race

package stream

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHotPathsDoNotAllocate(t *testing.T) {
	s := newStream(t, Config{Size: 4 * Block, Segment: Block})
	p := s.Producer()
	batches, bytes := listen(t, s, Options{}), listen(t, s, Options{})
	lossy := listen(t, s, Options{Policy: Lossy})
	f := numbered(1, 1514)
	packets := make([]Packet, 64)
	ctx := t.Context()
	step := func() {
		for range 64 {
			if !p.Append(1, 1, f, 0) {
				t.Fatal("held")
			}
		}
		p.Publish()
		if n, err := batches.ReadBatch(ctx, packets); err != nil || n == 0 {
			t.Fatal(n, err)
		}
		if n, err := lossy.ReadBatch(ctx, packets); err != nil || n == 0 {
			t.Fatal(n, err)
		}
		b, err := bytes.ReadBlock(ctx, 32<<10)
		if err != nil {
			t.Fatal(err)
		}
		for len(b) == 32<<10 && bytes.Offset()+32<<10 < p.published {
			if b, err = bytes.ReadBlock(ctx, 32<<10); err != nil {
				t.Fatal(err)
			}
		}
		if err := bytes.Consume(bytes.InFlight()); err != nil {
			t.Fatal(err)
		}
	}
	step()
	require.Zero(t, testing.AllocsPerRun(500, step))
}
