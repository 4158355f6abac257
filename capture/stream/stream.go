package stream

import (
	"cmp"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/hugepage"
)

// Config are a stream's settings. A zero value of Entries, Segment or Pages means
// the default.
type Config struct {
	Interface string        // for messages and other processes
	Queue     int           // receive queue that the frames come from
	Core      int           // that receives, for fan-out groups of mode cpu; below 0: any, as 0
	Size      int           // bytes of data memory, a power of two and a multiple of 1 MiB
	Entries   int           // index entries, a power of two; default one per 256 bytes of data
	Segment   int64         // bytes of a segment, a multiple of 1 MiB; default 2 GiB
	Pages     hugepage.Size // default ordinary pages
	Node      int           // NUMA node, or hugepage.AnyNode

	// Pool, if not nil, holds the frames, where a device has written them. Size follows
	// from it.
	Pool *Pool
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
	groups   groups
	notifier notifier

	// Listeners attach and detach under mu; the producer never locks it.
	mu             sync.Mutex
	generation     uint64
	closed         bool
	attached       [MaxListeners]*attachment // those without a final report
	recentDetached []ListenerStats           // the last detached, oldest first
	olderDetached  ListenerStats             // sums of those detached before
	detachedTotal  uint64                    // all detached
	servers        map[*Server]struct{}      // to be closed with the stream
	housekeeping   bool                      // the housekeeper runs
	wake           chan struct{}             // makes it sweep at once

	final Stats // once closed

	active         atomic.Uint64                            // bit i: slots[i] is in use
	slots          [MaxListeners]atomic.Pointer[attachment] // set by attach, cleared by detach or by the producer
	scans          atomic.Uint64                            // odd while the producer uses slots
	align          atomic.Uint64                            // requests to begin a segment
	corruptCursors atomic.Uint64                            // listeners detached for a corrupt cursor
	refused        [refusals]atomic.Uint64                  // frames that Append refused, by cause

	publishing atomic.Uint64 // odd while the counters below change
	padding    atomic.Uint64 // published bytes of padding
	truncated  atomic.Uint64 // published frames that were cut
}

// New allocates a stream's memory, maps it and seals it: a process that gets the
// descriptors can only read it.
func New(c Config) (_ *Stream, err error) {
	c = c.withDefaults()
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("make stream: %w", err)
	}

	s := &Stream{config: c, servers: map[*Server]struct{}{}, wake: make(chan struct{}, 1)}
	name := fmt.Sprintf("ixcap-%s-%d", c.Interface, c.Queue)
	if err = s.allocateData(name + "-data"); err != nil {
		return nil, fmt.Errorf("make stream: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()

	h := newHeader(c)
	// The control memory is far smaller than a 1 GiB page.
	pages := min(c.Pages, hugepage.Size2M)
	s.control, err = hugepage.Alloc(int(h.Control), hugepage.Options{Pages: pages, Node: c.Node, Name: name + "-control"})
	if err != nil {
		return nil, fmt.Errorf("make stream: %w", err)
	}
	s.view = viewControl(s.control.Bytes(), &h)
	*s.view.header = h
	s.producer.init(s)
	s.notifier.init()
	for _, m := range []*hugepage.Memory{s.data, s.control} {
		if err = m.SealFutureWrite(); err != nil {
			return nil, fmt.Errorf("make stream: %w", err)
		}
		// No listener may add seals.
		if err = seal(m, unix.F_SEAL_SEAL); err != nil {
			return nil, fmt.Errorf("make stream: %w", err)
		}
	}
	return s, nil
}

// allocateData allocates the data memory, mapped twice, or takes that of the pool.
func (s *Stream) allocateData(name string) (err error) {
	c := s.config
	if c.Pool != nil {
		if err = c.Pool.Memory.Hold(); err != nil {
			return err
		}
		s.data, s.bytes = c.Pool.Memory, c.Pool.Memory.Bytes()
		return nil
	}
	if s.data, err = hugepage.Alloc(c.Size, hugepage.Options{Pages: c.Pages, Node: c.Node, Name: name}); err != nil {
		return err
	}
	s.bytes, err = s.data.MapTwice()
	return err
}

const minEntries = 64

// Check returns why New refuses the settings.
func (c Config) Check() error {
	c = c.withDefaults()
	switch {
	case c.Size < Block || !isPow2(uint64(c.Size)):
		return fmt.Errorf("buffer of %d bytes: choose a power of two of at least 1 MiB", c.Size)
	case c.Pool != nil && !c.Pool.valid():
		return errors.New("the pool's buffers do not fit its memory, or have no room for a record's header before a frame")
	case c.Pool == nil && c.Size%int(c.Pages) != 0:
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

func (c Config) withDefaults() Config {
	c.Pages = cmp.Or(c.Pages, hugepage.Ordinary)
	if c.Pool != nil {
		c.Size = int(poolSize(uint64(c.Pool.Memory.Len())))
		c.Entries = int(max(ceilPow2(uint64(c.Pool.Buffers)), minEntries))
	}
	c.Entries = cmp.Or(c.Entries, max(c.Size/256, minEntries))
	c.Segment = cmp.Or(c.Segment, DefaultSegment)
	return c
}

// Producer returns the only writer of the stream. One goroutine at a time may use it.
func (s *Stream) Producer() *Producer { return &s.producer }

// Config returns the stream's settings with the defaults filled in.
func (s *Stream) Config() Config { return s.config }

// Descriptors returns the descriptors of the sealed memories. They stay open until
// Close and belong to the stream.
func (s *Stream) Descriptors() (data, control int) { return s.data.Fd(), s.control.Fd() }

// Close closes the stream's servers and frees its memory. The producer must not be
// used after it. Listeners of this process keep their mappings and read what is left;
// so do those of other processes if the stream is finished.
func (s *Stream) Close() error {
	var errs []error
	for _, srv := range s.Servers() {
		errs = append(errs, srv.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.Join(errs...)
	}
	s.closeGroups()
	s.final = s.stats()
	s.closed = true
	s.groups.scanMap.unmap()
	s.wakeHousekeeper()
	for _, m := range []*hugepage.Memory{s.data, s.control} {
		if m != nil {
			errs = append(errs, m.Close())
		}
	}
	return errors.Join(errs...)
}
