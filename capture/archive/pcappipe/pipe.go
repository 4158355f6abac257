package pcappipe

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/pcapfilter"
)

const (
	// chunkSize is how many bytes a storer encodes before it hands them over.
	chunkSize = 64 << 10

	// chunks is how many a storer has: with those of the others it waits in the Pipe for a
	// queue without packets.
	chunks = 64

	// latency is how long encoded packets wait for more.
	latency = 10 * time.Millisecond

	// idle is how often a storer without packets says so. One of several does it more
	// often, since the others wait for it.
	idle, idleOfSeveral = 100 * time.Millisecond, 2 * time.Millisecond

	// slack is the time within which packets reach the stream after their stamps.
	slack = 5 * time.Millisecond

	// slackBefore is the same for a storer that does not run yet: one that is about to, or
	// one of a port that waits for listeners.
	slackBefore = 100 * time.Millisecond

	defaultTimeout = 5 * time.Second

	// closeTimeout is the least time that Close gives the output for the counters.
	closeTimeout = 200 * time.Millisecond
)

// ErrUnread is the error of an output that is not read at the end of the capture.
var ErrUnread = errors.New("it was not read")

// Config configures a Pipe. Zero values stand for the defaults.
type Config struct {
	Name   string          // of the output in errors; default "output"
	Format pcapfile.Format // default pcap

	Filter  *pcapfilter.Filter // write only packets that match; nil: all
	SnapLen int                // write at most so many bytes of a packet; 0: all

	// Timeout is how long the end of a capture waits for an output that takes nothing;
	// default 5 s.
	Timeout time.Duration
}

// Pipe is an output that is written while captures run. Call NewStorer for every queue,
// then Start, then run the Storers, then Close.
type Pipe struct {
	cfg      Config
	out      io.Writer
	storers  []*Storer
	handed   chan *chunk   // with room for all
	closing  chan struct{} // closed by Close: no storer runs any more
	written  chan struct{} // closed when all is written
	failed   chan struct{} // closed when err is set
	err      error
	failOnce sync.Once
	progress atomic.Int64 // when out took bytes last, ns since 1970

	// Of the merging goroutine.
	merged []byte // in order, not written yet
	last   int64  // stamp of the last packet in order
	late   atomic.Uint64
}

// New returns a Pipe that writes to out.
func New(out io.Writer, cfg Config) (*Pipe, error) {
	cfg.Name, cfg.Format = cmp.Or(cfg.Name, "output"), cmp.Or(cfg.Format, pcapfile.Pcap)
	cfg.Timeout = cmp.Or(cfg.Timeout, defaultTimeout)
	if err := cfg.Format.Check(); err != nil {
		return nil, err
	}
	return &Pipe{
		cfg: cfg, out: out, last: math.MinInt64,
		closing: make(chan struct{}), written: make(chan struct{}), failed: make(chan struct{}),
	}, nil
}

// Start begins the output with its header, so that the reader knows what comes, and then
// writes what the storers hand over.
func (p *Pipe) Start() {
	p.handed = make(chan *chunk, chunks*len(p.storers))
	p.progress.Store(time.Now().UnixNano())
	go func() {
		defer close(p.written)
		if err := p.run(); err != nil {
			p.fail(err)
		}
	}()
}

// Failed is closed when the output takes nothing any more. Storers then return Err.
func (p *Pipe) Failed() <-chan struct{} { return p.failed }

// Err is why the output failed: syscall.EPIPE if its reader has gone. It is set once
// Failed is closed.
func (p *Pipe) Err() error {
	select {
	case <-p.failed:
		return p.err
	default:
		return nil
	}
}

// Late returns how many packets were written after one with a later stamp.
func (p *Pipe) Late() uint64 { return p.late.Load() }

// Close waits until what the storers handed over is written, and returns the error of the
// output, which is ErrUnread if it takes nothing for Config.Timeout (at least 200 ms). The
// storers must have returned. It does not close the writer.
func (p *Pipe) Close() error {
	close(p.closing)
	p.progress.Store(time.Now().UnixNano())
	limit := max(p.cfg.Timeout, closeTimeout)
	for wait := limit; ; wait = limit - p.quiet() {
		if wait <= 0 {
			p.fail(ErrUnread)
		}
		select {
		case <-p.written:
			return p.Err()
		case <-p.failed: // a write may be blocked
			return p.Err()
		case <-time.After(wait):
		}
	}
}

// quiet is for how long the output has taken nothing.
func (p *Pipe) quiet() time.Duration { return time.Since(time.Unix(0, p.progress.Load())) }

func (p *Pipe) fail(err error) {
	p.failOnce.Do(func() {
		p.err = fmt.Errorf("write packets to %s: %w", p.cfg.Name, err)
		close(p.failed)
	})
}

// run writes the header, the packets, and the counters at the end.
func (p *Pipe) run() error {
	e := pcapfile.Encoder{Format: p.cfg.Format}
	for i, s := range p.storers {
		if i == 0 {
			e.Interface = s.enc.Interface
			p.merged = e.Header(p.merged)
			continue
		}
		if e.Format == pcapfile.Pcap && s.enc.CRC != e.CRC {
			return fmt.Errorf("%s and %s: frames of one of them end in their CRC, and pcap says that of all packets or none: use pcapng", e.Name, s.enc.Name)
		}
		p.merged = e.AddInterface(p.merged, &s.enc.Interface)
	}
	if err := p.flush(); err != nil {
		return err
	}
	if err := p.merge(); err != nil {
		return err
	}
	for _, s := range p.storers {
		st := s.statistics()
		p.merged = e.Statistics(p.merged, &st)
	}
	return p.flush()
}

// merge writes chunks until Close.
func (p *Pipe) merge() error {
	bounds, tick := make([]int64, len(p.storers)), time.NewTimer(idle)
	for {
		for i, s := range p.storers {
			// Before the chunks are taken: all packets up to here are in them.
			if bounds[i] = s.complete.Load(); bounds[i] == 0 {
				bounds[i] = time.Now().Add(-slackBefore).UnixNano()
			}
		}
		p.take()
		if s, until := p.next(bounds); s != nil {
			if err := p.move(s, until); err != nil {
				return err
			}
			continue
		}
		if err := p.flush(); err != nil {
			return err
		}
		wait := idle
		if p.waiting() {
			wait = idleOfSeveral
		}
		tick.Reset(wait)
		select {
		case c := <-p.handed:
			c.from.waiting = append(c.from.waiting, c)
		case <-tick.C:
		case <-p.closing:
			if p.take(); !p.waiting() {
				return nil
			}
		}
	}
}

// take takes what the storers have handed over.
func (p *Pipe) take() {
	for {
		select {
		case c := <-p.handed:
			c.from.waiting = append(c.from.waiting, c)
		default:
			return
		}
	}
}

// waiting reports whether there are packets to be written.
func (p *Pipe) waiting() bool {
	for _, s := range p.storers {
		if len(s.waiting) > 0 {
			return true
		}
	}
	return false
}

// next returns the storer with the earliest packet, and the stamp up to which it may be
// written before one of the others; nil if another queue may still have an earlier one.
func (p *Pipe) next(bounds []int64) (first *Storer, until int64) {
	earliest, until := int64(math.MaxInt64), math.MaxInt64
	for i, s := range p.storers {
		if len(s.waiting) == 0 {
			until = min(until, bounds[i])
			continue
		}
		switch at := s.waiting[0].stamp(); {
		case first == nil || at < earliest:
			if first != nil {
				until = min(until, earliest)
			}
			first, earliest = s, at
		default:
			until = min(until, at)
		}
	}
	if earliest > until {
		return nil, 0
	}
	return first, until
}

// move moves packets with stamps up to until from a storer's first chunk to the output.
func (p *Pipe) move(s *Storer, until int64) error {
	c := s.waiting[0]
	from, n := c.begin(), c.next
	for ; n < len(c.packets) && c.packets[n].nano <= until; n++ {
		if nano := c.packets[n].nano; nano < p.last {
			p.late.Add(1)
		} else {
			p.last = nano
		}
	}
	c.next = n
	part := c.raw[from:c.begin()]
	if len(p.merged) == 0 && n == len(c.packets) {
		if err := p.write(part); err != nil { // without a copy
			return err
		}
	} else if p.merged = append(p.merged, part...); len(p.merged) >= chunkSize {
		if err := p.flush(); err != nil {
			return err
		}
	}
	if n == len(c.packets) {
		s.waiting = append(s.waiting[:0], s.waiting[1:]...)
		s.mergedBytes += c.bytes
		s.free <- c
		if len(p.merged) == 0 {
			p.account()
		}
	}
	return nil
}

// flush writes what is merged.
func (p *Pipe) flush() error {
	if len(p.merged) > 0 {
		if err := p.write(p.merged); err != nil {
			return err
		}
		p.merged = p.merged[:0]
	}
	p.account()
	return nil
}

// account counts what the storers' packets have written.
func (p *Pipe) account() {
	for _, s := range p.storers {
		s.written.Store(s.mergedBytes)
	}
}

func (p *Pipe) write(b []byte) error {
	n, err := p.out.Write(b)
	if p.progress.Store(time.Now().UnixNano()); err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return err
}
