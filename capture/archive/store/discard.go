package store

import (
	"context"
	"io"
)

// Discard consumes what src gives until the stream ends or ctx is done, and says
// how many bytes that were.
func Discard(ctx context.Context, src Source) (n uint64, err error) {
	for {
		b, err := src.ReadBlock(ctx, Block)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		n += uint64(len(b))
		if err := src.Consume(len(b)); err != nil {
			return n, err
		}
	}
}
