package pcappipe

import (
	"context"
	"errors"
	"io"
	"math"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/stream"
)

// batchSize is how many packets are read from the stream at once.
const batchSize = 64

// source is a stream.Listener, with the contracts of its methods.
type source interface {
	ReadBatch(ctx context.Context, packets []stream.Packet) (int, error)
}

// Source describes the queue of a Storer.
type Source struct {
	Interface pcapfile.Interface // of the packets, in pcapng

	// Ended reports whether the capture has ended or is told to end, so that an output that
	// is not read is waited for no longer than Config.Timeout; nil: it has.
	Ended func() bool

	// Counters returns the port's frames that it received and of these those that it lost,
	// for the end of a pcapng output. One queue of a port has it; nil: not known.
	Counters func() (received, dropped uint64)
}

// chunk is a number of encoded packets.
type chunk struct {
	from    *Storer
	raw     []byte
	packets []packet
	next    int    // the first that is not in the output
	bytes   uint64 // of the packets, as stored
}

// packet is one in a chunk.
type packet struct {
	nano int64
	end  int // in raw
}

func (c *chunk) stamp() int64 { return c.packets[c.next].nano }

// begin is where the next packet begins in raw.
func (c *chunk) begin() int {
	if c.next == 0 {
		return 0
	}
	return c.packets[c.next-1].end
}

// Storer encodes the packets of one queue for a Pipe. It is a recorder.Storer; run it once.
type Storer struct {
	pipe   *Pipe
	source Source
	number uint32
	enc    pcapfile.Encoder
	free   chan *chunk
	now    *chunk    // being filled; nil: to be got
	handed time.Time // when the last one was handed over

	// complete is the stamp up to which all packets are handed over; 0: it does not run yet.
	complete atomic.Int64

	read, filtered, cut, written atomic.Uint64 // bytes of packets

	accepted    uint64 // packets
	first, last int64  // stamps

	waiting     []*chunk // of the Pipe, to be written
	mergedBytes uint64   // of the Pipe, in its output or about to be
}

// NewStorer adds a queue to the output. Call it before Start.
func (p *Pipe) NewStorer(source Source) *Storer {
	s := &Storer{
		pipe: p, source: source, number: uint32(len(p.storers)),
		enc: pcapfile.Encoder{Format: p.cfg.Format, Interface: source.Interface}, free: make(chan *chunk, chunks),
	}
	s.enc.Snaplen = uint32(p.cfg.SnapLen)
	if p.cfg.Filter != nil {
		s.enc.Filter = p.cfg.Filter.String()
	}
	for range chunks {
		s.free <- &chunk{from: s}
	}
	p.storers = append(p.storers, s)
	return s
}

// Run writes what l reads until the stream ends and all of it is written. Any other end of l
// is an error, as is a failure of the output.
func (s *Storer) Run(ctx context.Context, l *stream.Listener) error { return s.run(ctx, l) }

func (s *Storer) run(ctx context.Context, src source) error {
	s.complete.Store(1)
	err := s.readAll(ctx, src)
	if s.now != nil && len(s.now.packets) > 0 {
		s.handOver(time.Now())
	}
	s.complete.Store(math.MaxInt64)
	if err != io.EOF {
		return err
	}
	return s.wait(func() bool { return s.unwritten() == 0 })
}

// readAll reads until an error, io.EOF at the end of the stream.
func (s *Storer) readAll(ctx context.Context, src source) error {
	var timeout store.Timeout
	var batch [batchSize]stream.Packet
	calm := idle
	if len(s.pipe.storers) > 1 {
		calm = idleOfSeveral
	}
	for {
		if s.now == nil {
			if err := s.wait(s.get); err != nil {
				return err
			}
		}
		wait, filled := calm, len(s.now.packets) > 0
		if filled {
			wait = min(wait, latency-time.Since(s.handed))
		}
		began := time.Now()
		n, err := src.ReadBatch(timeout.Reset(ctx, max(wait, 0)), batch[:])
		now := time.Now()
		switch {
		case err == nil:
			s.add(batch[:n])
			filled = len(s.now.packets) > 0
		case !errors.Is(err, store.ErrTimeout):
			return err
		}
		if filled && (now.Sub(s.handed) >= latency || len(s.now.raw) >= chunkSize) {
			s.handOver(now)
		} else if err != nil && !filled {
			s.complete.Store(began.Add(-slack).UnixNano()) // the stream was empty after that
		}
		if err := s.pipe.Err(); err != nil {
			return err
		}
	}
}

// unwritten is how many bytes are read and not in the output.
func (s *Storer) unwritten() uint64 {
	written := s.written.Load() + s.filtered.Load() + s.cut.Load() // before read, which grows last
	return s.read.Load() - written
}

// get gets a chunk to fill and reports whether there was one.
func (s *Storer) get() bool {
	select {
	case c := <-s.free:
		c.raw, c.packets, c.next, c.bytes = c.raw[:0], c.packets[:0], 0, 0
		s.now = c
		return true
	default:
		return false
	}
}

// wait waits until done or the output has failed. It lets an output fail that takes nothing
// after the capture has ended.
func (s *Storer) wait(done func() bool) error {
	const interval = time.Millisecond
	for since := time.Now(); !done(); {
		if err := s.pipe.Err(); err != nil {
			return err
		}
		if s.source.Ended != nil && !s.source.Ended() {
			since = time.Now()
		}
		if min(s.pipe.quiet(), time.Since(since)) > s.pipe.cfg.Timeout {
			s.pipe.fail(ErrUnread)
		}
		time.Sleep(interval)
	}
	return nil
}

// add encodes packets.
func (s *Storer) add(batch []stream.Packet) {
	c, filter := s.now, s.pipe.cfg.Filter
	var read, filtered, cut uint64
	for i := range batch {
		in := &batch[i]
		read += uint64(len(in.Data))
		if filter != nil && !filter.Match(in.Data, int(in.Len)) {
			filtered += uint64(len(in.Data))
			continue
		}
		out := pcapfile.Packet{Nano: in.UnixNano(), Len: uint32(in.Len), Data: in.Data, Interface: s.number, Errors: pcapfile.ErrorsOf(in.Info, uint32(in.Len))}
		if most := s.pipe.cfg.SnapLen; most > 0 && len(out.Data) > most {
			cut += uint64(len(out.Data) - most)
			out.Data = out.Data[:most]
		}
		c.raw = s.enc.Packet(c.raw, &out)
		c.packets = append(c.packets, packet{out.Nano, len(c.raw)})
		if s.accepted++; s.accepted == 1 {
			s.first = out.Nano
		}
		s.last = out.Nano
	}
	c.bytes += read - filtered - cut
	s.filtered.Add(filtered)
	s.cut.Add(cut)
	s.read.Add(read)
}

// handOver hands the chunk over to the Pipe.
func (s *Storer) handOver(now time.Time) {
	s.pipe.handed <- s.now // it has room for all
	s.now, s.handed = nil, now
}

// statistics are the counters at the end of the output, once the storer has run.
func (s *Storer) statistics() pcapfile.Statistics {
	if s.accepted == 0 {
		s.first = time.Now().UnixNano()
		s.last = s.first
	}
	st := pcapfile.Statistics{
		Interface: s.number, Accepted: s.accepted, Delivered: s.accepted,
		Start: time.Unix(0, s.first), End: time.Unix(0, s.last),
	}
	if s.source.Counters != nil {
		st.Received, st.Dropped = s.source.Counters()
		st.Port = true
	}
	return st
}

// Stats implements recorder.Storer. After a failure of the output what it did not take has
// failed.
func (s *Storer) Stats() store.Stats {
	st := store.Stats{Written: s.written.Load(), Filtered: s.filtered.Load(), Cut: s.cut.Load(), Read: s.read.Load()}
	st.Wrote = st.Written
	if err := s.pipe.Err(); err != nil {
		st.Failing = true
		if lost := st.Read - st.Written - st.Filtered - st.Cut; lost > 0 {
			st.Failed = map[string]uint64{cause(err): lost}
		}
	}
	return st
}

// cause is the errno of an error of the output.
func cause(err error) string {
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	case errors.Is(err, ErrUnread):
		return "not read"
	}
	return "error"
}

// Rotate implements recorder.Storer: a pipe is one file.
func (*Storer) Rotate() {}

// SetEvery implements recorder.Storer: a pipe is one file.
func (*Storer) SetEvery(time.Duration) error { return nil }
