package flow

import (
	"fmt"
	"sync/atomic"
)

// Stats are the counters of an engine. Frames and bytes are those that were put in; what is
// not in records yet is in the table.
type Stats struct {
	Frames, Bytes uint64

	Opened uint64       // flows
	Ended  [ends]uint64 // flows by what ended them: EndIdle and so on
	Short  uint64       // ended flows, of one packet, that had a short entry

	RecordedFrames, RecordedBytes uint64 // in the records of ended flows
	Active                        uint64 // flows in the table
}

// Balanced returns an error unless every frame and byte is in a record. Flows in the table
// have none: Flush comes first.
func (s Stats) Balanced() error {
	var ended uint64
	for _, n := range s.Ended {
		ended += n
	}
	switch {
	case s.Opened != ended+s.Active:
		return fmt.Errorf("flow ledger: %d flows opened, %d ended, %d in the table: %d are missing",
			s.Opened, ended, s.Active, int64(s.Opened-ended-s.Active))
	case s.Active > 0:
		return fmt.Errorf("flow ledger: %d flows are in the table: it balances once they are flushed", s.Active)
	case s.Frames != s.RecordedFrames || s.Bytes != s.RecordedBytes:
		return fmt.Errorf("flow ledger: %d frames of %d bytes in, %d frames of %d bytes in records",
			s.Frames, s.Bytes, s.RecordedFrames, s.RecordedBytes)
	}
	return nil
}

// String is the ledger's line.
func (s Stats) String() string {
	return fmt.Sprintf("flows: %d frames, %d bytes; %d flows opened: %d idle, %d active, %d closed, %d evicted, %d flushed (%d of them short), %d in the table",
		s.Frames, s.Bytes, s.Opened, s.Ended[EndIdle], s.Ended[EndActive], s.Ended[EndClosed], s.Ended[EndEvicted], s.Ended[EndFlushed], s.Short, s.Active)
}

// account counts. Other goroutines see what was published last.
type account struct {
	frames, bytes                 uint64
	opened, short                 uint64
	ended                         [ends]uint64
	recordedFrames, recordedBytes uint64

	published struct {
		frames, bytes, opened, short          atomic.Uint64
		ended                                 [ends]atomic.Uint64
		recordedFrames, recordedBytes, active atomic.Uint64
	}
}

// publish makes the counters visible.
func (e *Engine) publish() {
	a := &e.account
	p := &a.published
	p.frames.Store(a.frames)
	p.bytes.Store(a.bytes)
	p.opened.Store(a.opened)
	p.short.Store(a.short)
	for i, n := range a.ended {
		p.ended[i].Store(n)
	}
	p.recordedFrames.Store(a.recordedFrames)
	p.recordedBytes.Store(a.recordedBytes)
	p.active.Store(uint64(e.config.Flows - e.vacant + e.kept))
}

// Stats returns the counters as of the last batch. Any goroutine may call it; those of a
// running engine may be of two batches.
func (e *Engine) Stats() Stats {
	p := &e.account.published
	s := Stats{
		Frames: p.frames.Load(), Bytes: p.bytes.Load(), Opened: p.opened.Load(), Short: p.short.Load(),
		RecordedFrames: p.recordedFrames.Load(), RecordedBytes: p.recordedBytes.Load(), Active: p.active.Load(),
	}
	for i := range s.Ended {
		s.Ended[i] = p.ended[i].Load()
	}
	return s
}
