package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/sim/wire"
)

// deep is how many frames go by for each whose checksums are recomputed; of
// the others only the stamps are looked at, which costs next to nothing.
const deep = 64

// reader reads a listener and checks what it gets.
type reader struct {
	Read uint64 `json:"read"` // frames
	Void uint64 `json:"void"` // batches that were overtaken while they were looked at
	Out  bool   `json:"out"`  // it was detached: the last batch does not count as read

	sequence uint64 // of the frame looked at last, plus 1
	stamp    int64  // of the last frame
}

// run reads until the stream ends, the listener is closed or let go, or ctx is
// done, which is no error.
func (r *reader) run(ctx context.Context, l *stream.Listener) error {
	packets := make([]stream.Packet, 256)
	var wrong error // in the last batch, which may yet turn out to be void
	before := *r
	for {
		n, err := l.ReadBatch(ctx, packets)
		if errors.Is(err, stream.ErrOverrun) {
			void := r.Void + 1
			*r, wrong = before, nil
			r.Void = void
			continue
		}
		if r.Out = errors.Is(err, stream.ErrDetached); r.Out {
			return nil // nobody has waited for it since, so the last batch may be void, too
		}
		if wrong != nil {
			return wrong
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, stream.ErrClosed), ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		before = *r
		for i := range packets[:n] {
			if wrong = r.check(&packets[i]); wrong != nil {
				break
			}
		}
	}
}

// check looks at one frame.
func (r *reader) check(p *stream.Packet) error {
	r.Read++
	stamp := p.UnixNano()
	if stamp < r.stamp {
		return fmt.Errorf("frame %d of this listener is stamped %d ns before the one that came first", r.Read, r.stamp-stamp)
	}
	r.stamp = stamp
	if r.Read%deep != 1 || len(p.Data) < int(p.Len) {
		return nil // of a frame that was cut the checksum says nothing
	}
	seq, err := wire.Sequence(p.Data)
	if err != nil {
		return fmt.Errorf("frame %d of this listener is none that was sent: %w", r.Read, err)
	}
	if seq < r.sequence {
		return fmt.Errorf("frame %d of this listener is number %d on the wire, after number %d", r.Read, seq, r.sequence-1)
	}
	r.sequence = seq + 1
	return nil
}
