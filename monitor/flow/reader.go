package flow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/ixcap/ixcap/capture/stream"
)

const (
	readBatch = 256
	minPause  = 5 * time.Microsecond // doubled each time
	maxPause  = time.Millisecond

	// margin is how far the clock is ahead of the flows when no packets come: one that has
	// its stamp may be in no stream yet.
	margin = time.Second
)

// Reader computes the flows of what a listener reads: of one queue, or a member's share of a
// fan-out group.
type Reader struct {
	*Engine
	listener *stream.Listener
	packets  []stream.Packet
	pending  atomic.Uint64 // packets of the last batch, until the listener counts them as read
}

// NewReader makes a reader of a listener.
func NewReader(l *stream.Listener, c Config) (*Reader, error) {
	e, err := New(c)
	if err != nil {
		return nil, err
	}
	return &Reader{Engine: e, listener: l, packets: make([]stream.Packet, readBatch)}, nil
}

// Run reads until the stream ends, which returns nil, or ctx is done. Then it ends all flows
// and closes the listener. OnRecords is called by Run's goroutine: a lossless listener holds the
// capture back while it works. When no packets come, flows expire by the clock.
func (r *Reader) Run(ctx context.Context) error {
	defer r.listener.Close()
	defer r.Flush()
	for pause := minPause; ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		start := time.Now()
		n, err := r.listener.TryReadBatch(r.packets)
		r.pending.Store(uint64(n))
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("flows of listener %s: %w", r.listener.Name(), err)
		case n > 0:
			r.Process(r.packets[:n])
			pause = minPause
			continue
		case pause == maxPause:
			r.Advance(start.Add(-margin).UnixNano())
		}
		time.Sleep(pause)
		pause = min(2*pause, maxPause)
	}
}

// Ledger is what became of the frames of a stream on their way to records.
type Ledger struct {
	Listener stream.ListenerStats
	Pending  uint64 // frames in flows that the listener has not counted as read, of the last batch
	Flows    Stats
}

// Ledger returns the account. Any goroutine may call it. It balances once Run has returned.
func (r *Reader) Ledger() Ledger {
	return Ledger{Listener: r.listener.Stats(), Pending: r.pending.Load(), Flows: r.Stats()}
}

// Balanced returns an error unless the frames that were read are those in flows, and these
// balance.
func (l Ledger) Balanced() error {
	if read := l.Listener.Read + l.Listener.Handed + l.Pending; read != l.Flows.Frames {
		return fmt.Errorf("flow ledger: listener %s read %d frames, %d are in flows", l.Listener.Name, read, l.Flows.Frames)
	}
	return l.Flows.Balanced()
}

// String is the ledger's line.
func (l Ledger) String() string {
	return fmt.Sprintf("listener %s: %d frames read, %d overrun, %d of other members; %v",
		l.Listener.Name, l.Listener.Read+l.Listener.Handed+l.Pending, l.Listener.Overrun, l.Listener.Skipped, l.Flows)
}
