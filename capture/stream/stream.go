package stream

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/hugepage"
)

// Config describes a stream. The zero value of Entries, Segment and Pages
// stands for the default.
type Config struct {
	Interface string        // for messages and other processes
	Queue     int           // receive queue that it belongs to
	Size      int           // bytes of data memory, a power of two and a multiple of 1 MiB
	Entries   int           // index entries, a power of two; default one per 256 bytes of data
	Segment   int64         // bytes of a segment, a multiple of 1 MiB; default 2 GiB
	Pages     hugepage.Size // default ordinary pages
	Node      int           // NUMA node, or hugepage.AnyNode
}

// Stream is the memory of one circular buffer and the listeners attached to it.
// Listen and Stats may be called from any goroutine, its Producer from one.
type Stream struct {
	config  Config
	data    *hugepage.Memory
	control *hugepage.Memory
	bytes   []byte // data, mapped twice in a row
	view    controlView

	producer Producer

	// Listeners come and go under mu; the producer never takes it.
	mu         sync.Mutex
	generation uint64
	closed     bool

	final Stats // once closed

	active   atomic.Uint64                      // bit i: slots[i] is taken
	slots    [MaxListeners]atomic.Pointer[slot] // set by Listen, cleared by Close or by the producer
	scans    atomic.Uint64                      // odd while the producer walks slots
	align    atomic.Uint64                      // aligned starts asked for
	detached atomic.Uint64                      // listeners thrown out for an impossible cursor
	refused  [refusals]atomic.Uint64            // frames that Append would not store

	publishing atomic.Uint64 // odd while counters change that do not with every frame
	padding    atomic.Uint64 // published bytes of padding
	truncated  atomic.Uint64 // published frames that were cut
}

// slot is the producer's side of a listener.
type slot struct {
	name   string
	policy Policy
	cursor *cursor // producer's mapping of the listener's page

	// What the producer saw last; it alone touches them once the slot is active.
	offset, seq uint64
}

// New allocates a stream's memory, maps it and seals it: whoever gets its
// descriptors later can read it and nothing else.
func New(c Config) (_ *Stream, err error) {
	if c.Pages == 0 {
		c.Pages = hugepage.Ordinary
	}
	if c.Entries == 0 {
		c.Entries = max(c.Size/256, minEntries)
	}
	if c.Segment == 0 {
		c.Segment = DefaultSegment
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("make stream: %w", err)
	}

	s := &Stream{config: c}
	name := fmt.Sprintf("ixcap-%s-%d", c.Interface, c.Queue)
	s.data, err = hugepage.Alloc(c.Size, hugepage.Options{Pages: c.Pages, Node: c.Node, Name: name + "-data"})
	if err != nil {
		return nil, fmt.Errorf("make stream: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()

	h := plan(c)
	// The control memory is far smaller than the data: a 1 GiB page would be wasted on it.
	pages := min(c.Pages, hugepage.Size2M)
	s.control, err = hugepage.Alloc(int(h.Control), hugepage.Options{Pages: pages, Node: c.Node, Name: name + "-control"})
	if err != nil {
		return nil, fmt.Errorf("make stream: %w", err)
	}
	if s.bytes, err = s.data.MapTwice(); err != nil {
		return nil, fmt.Errorf("make stream: %w", err)
	}
	s.view = viewControl(s.control.Bytes(), &h)
	*s.view.header = h
	s.producer.init(s)
	for _, m := range []*hugepage.Memory{s.data, s.control} {
		if err = m.SealFutureWrite(); err != nil {
			return nil, fmt.Errorf("make stream: %w", err)
		}
	}
	return s, nil
}

const minEntries = 64

func (c Config) check() error {
	switch {
	case c.Size < Block || !isPow2(uint64(c.Size)):
		return fmt.Errorf("buffer of %d bytes: choose a power of two of at least 1 MiB", c.Size)
	case c.Size%int(c.Pages) != 0:
		return fmt.Errorf("buffer of %d bytes is no multiple of its %v pages: choose a larger buffer or smaller pages", c.Size, c.Pages)
	case c.Entries < minEntries || !isPow2(uint64(c.Entries)):
		return fmt.Errorf("%d index entries: choose a power of two of at least %d", c.Entries, minEntries)
	case c.Segment < Block || c.Segment%Block != 0:
		return fmt.Errorf("segment of %d bytes: choose a multiple of 1 MiB", c.Segment)
	case c.Queue < 0:
		return fmt.Errorf("queue %d: choose 0 or more", c.Queue)
	case len(c.Interface) > len(header{}.Name):
		return fmt.Errorf("interface name of %d bytes: choose at most %d", len(c.Interface), len(header{}.Name))
	}
	return nil
}

// Producer is the one writer of the stream. It may be used by one goroutine at
// a time.
func (s *Stream) Producer() *Producer { return &s.producer }

// Config is what the stream was made with, defaults filled in.
func (s *Stream) Config() Config { return s.config }

// Descriptors are the sealed memories that another process needs to read the
// stream: data and control. They stay open until Close and belong to the stream.
func (s *Stream) Descriptors() (data, control int) { return s.data.Fd(), s.control.Fd() }

// Close gives the memory back. The producer must have been used for the last
// time; listeners keep their mappings and read what is left in peace.
func (s *Stream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.final = s.stats()
	var errs []error
	for _, m := range []*hugepage.Memory{s.data, s.control} {
		if m != nil {
			errs = append(errs, m.Close())
		}
	}
	return errors.Join(errs...)
}

// Stats are a stream's counters. They only grow, but for Fill and Listeners.
type Stats struct {
	Frames uint64 // published
	Bytes  uint64 // published, headers and padding included
	// FrameBytes, Padding and Truncated are up to date when the producer has
	// published: Bytes = FrameBytes + Padding + RecordHeader*Frames.
	FrameBytes uint64 // of the stored frames, as stored
	Padding    uint64 // padding records
	Truncated  uint64 // frames stored in part
	Segments   uint64 // begun
	Fill       uint64 // bytes that the slowest lossless listener has not given back
	Detached   uint64 // listeners thrown out because their cursor was impossible
	TooLong    uint64 // frames refused: longer than a record can describe
	Broken     uint64 // frames refused: parts that do not add up to their length
	Late       uint64 // frames refused: after Finish
	Listeners  []ListenerStats
}

// Stats reads the stream's counters and those of the listeners attached now.
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
		Detached: s.detached.Load(),
		TooLong:  s.refused[tooLong].Load(),
		Broken:   s.refused[broken].Load(),
		Late:     s.refused[late].Load(),
	}
	if s.control == nil || s.view.cursors == nil {
		return st
	}
	c := s.view.cursors
	slowest, any := uint64(0), false
	for set := s.active.Load(); set != 0; set &= set - 1 {
		sl := s.slots[bits.TrailingZeros64(set)].Load()
		if sl == nil {
			continue
		}
		ls := readAccount(sl.cursor, c.IndexHead.Load)
		ls.Name, ls.Policy = sl.name, sl.policy
		st.Listeners = append(st.Listeners, ls)
		if at := sl.cursor.Offset.Load(); sl.policy == Lossless && (!any || at < slowest) {
			slowest, any = at, true
		}
	}
	// Read after the listeners' positions, so Fill cannot come out negative.
	st.Segments = c.Segments.Load()
	for {
		n := s.publishing.Load()
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
	st.FrameBytes = st.Bytes - st.Padding - RecordHeader*st.Frames
	if any && slowest <= st.Bytes {
		st.Fill = st.Bytes - slowest
	}
	return st
}

// newCursor makes the page that a listener will write. The producer makes it,
// not the listener, and forbids changing its size: a page that its owner could
// truncate would kill the producer at its next look.
func newCursor(name string) (*hugepage.Memory, error) {
	m, err := hugepage.Alloc(pageBytes, hugepage.Options{Pages: hugepage.Ordinary, Node: hugepage.AnyNode, Name: name})
	if err != nil {
		return nil, err
	}
	seals := unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(m.Fd()), unix.F_ADD_SEALS, seals); err != nil {
		return nil, errors.Join(fmt.Errorf("seal %s: %w", name, err), m.Close())
	}
	return m, nil
}
