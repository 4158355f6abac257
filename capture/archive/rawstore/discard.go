package rawstore

import (
	"context"
	"io"
)

// Discard consumes src until the stream ends or ctx is done. It returns the number
// of bytes.
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
