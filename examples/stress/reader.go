package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/sim/wire"
)

// checksumEvery is the distance between frames whose checksums are verified. Of the
// others only the stamps are checked.
const checksumEvery = 64

// reader reads a listener and checks the frames.
type reader struct {
	Read uint64 `json:"read"` // frames
	Void uint64 `json:"void"` // batches that were overrun while they were checked
	Out  bool   `json:"out"`  // it was detached: the last batch does not count as read

	sequence uint64 // of the last frame checked, plus 1
	stamp    int64  // of the last frame
}

// run reads until the stream ends, the listener is closed or detached, or ctx is done.
// None of these is an error.
func (r *reader) run(ctx context.Context, l *stream.Listener) error {
	packets := make([]stream.Packet, 256)
	var wrong error // in the last batch, which can still be overrun
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
			return nil // the last batch can have been overrun since
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

// check checks one frame.
func (r *reader) check(p *stream.Packet) error {
	r.Read++
	stamp := p.UnixNano()
	if stamp < r.stamp {
		return fmt.Errorf("frame %d of this listener is stamped %d ns before the previous one", r.Read, r.stamp-stamp)
	}
	r.stamp = stamp
	if r.Read%checksumEvery != 1 || len(p.Data) < int(p.Len) {
		return nil // truncated: no checksum
	}
	seq, err := wire.Sequence(p.Data)
	if err != nil {
		return fmt.Errorf("frame %d of this listener was not sent: %w", r.Read, err)
	}
	if seq < r.sequence {
		return fmt.Errorf("frame %d of this listener is number %d on the wire, after number %d", r.Read, seq, r.sequence-1)
	}
	r.sequence = seq + 1
	return nil
}
