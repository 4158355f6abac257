package stream

import "time"

// Stats are a stream's counters. All but Fill and the listeners only grow.
type Stats struct {
	Frames uint64 // published
	Bytes  uint64 // published, headers and padding included
	// FrameBytes, Padding and Truncated are up to date when the producer has
	// published: Bytes = FrameBytes + Padding + RecordHeader*Frames.
	FrameBytes     uint64 // of the stored frames, as stored
	Padding        uint64 // padding records
	Truncated      uint64 // frames stored in part
	Segments       uint64 // begun
	Fill           uint64 // bytes of the buffer, or of the pool's, that the slowest lossless listener has not released
	CorruptCursors uint64 // listeners detached because of a corrupt cursor
	TooLong        uint64 // frames refused: longer than a record can describe
	Inconsistent   uint64 // frames refused: parts that do not add up to their length
	Late           uint64 // frames refused: after Finish
	DetachedTotal  uint64 // listeners that were attached and are detached

	// Uncertainty is the longest time between a frame's arrival in host memory and its
	// stamp that the producer cannot exclude; 0: not known.
	Uncertainty time.Duration

	Groups         []GroupStats    // fan-out groups, in the order of their slots
	Listeners      []ListenerStats // attached now
	RecentDetached []ListenerStats // the last 64 detached, oldest first
	OlderDetached  ListenerStats   // sums of frames and bytes of those detached before; nothing else is set
}

// Stats returns the stream's counters and those of its listeners. After Close they
// are those at Close.
func (s *Stream) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.final
	}
	return s.stats()
}

func (s *Stream) stats() Stats {
	st := Stats{
		TooLong:      s.refused[tooLong].Load(),
		Inconsistent: s.refused[inconsistent].Load(),
		Late:         s.refused[late].Load(),
	}
	if s.control == nil || s.view.cursors == nil {
		return st
	}
	c := s.view.cursors
	s.collect()
	slowest, any := position{}, false
	for _, att := range s.attached {
		if att == nil {
			continue
		}
		ls, consistent := s.listenerStats(att)
		if !consistent {
			s.detach(att, reasonCorrupt)
			continue
		}
		st.Listeners = append(st.Listeners, ls)
		if at := att.last.position; att.lossless.Load() != 0 && (!any || at.offset < slowest.offset) {
			slowest, any = at, true
		}
	}
	st.CorruptCursors, st.DetachedTotal = s.corruptCursors.Load(), s.detachedTotal
	st.RecentDetached, st.OlderDetached = append(st.RecentDetached, s.recentDetached...), s.olderDetached
	// Read after the listeners' positions, so Fill cannot come out negative.
	st.Segments = c.Segments.Load()
	st.Uncertainty = time.Duration(c.Uncertainty.Load())
	for {
		n := s.publishing.Load() // A8, pairs with R8 in publish
		st.Frames, st.Padding, st.Truncated = c.IndexHead.Load(), s.padding.Load(), s.truncated.Load()
		st.Bytes = c.Head.Load()
		// IndexHead changes just before Head: the last entry counted must lie
		// before Head.
		whole := st.Frames == 0 || s.view.index[(st.Frames-1)&uint64(len(s.view.index)-1)].Offset < st.Bytes
		if whole && n%2 == 0 && s.publishing.Load() == n && c.IndexHead.Load() == st.Frames {
			break
		}
		pause()
	}
	st.Groups = s.groupStats(st.Frames)
	st.FrameBytes = st.Bytes - st.Padding - RecordHeader*st.Frames
	switch {
	case !any || slowest.offset > st.Bytes:
	case s.config.Pool != nil:
		st.Fill = s.heldBytes(slowest.seq, st.Frames)
	default:
		st.Fill = st.Bytes - slowest.offset
	}
	return st
}

// BufferBytes is the size of the memory that the frames lie in: Config.Size, or that of the
// pool's buffers.
func (s *Stream) BufferBytes() int {
	if p := s.config.Pool; p != nil {
		return p.Buffers * p.Stride
	}
	return s.config.Size
}

// BlockBytes is the size of the memory that the blocks of a reader of bytes lie in: the same, or
// with a pool that to which they are gathered.
func (s *Stream) BlockBytes() int {
	if p := s.config.Pool; p != nil {
		return gatheredBytes(p.Memory.Len())
	}
	return s.config.Size
}
