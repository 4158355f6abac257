package pcapstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/stream"
)

const (
	// batchSize is how many packets are taken from the stream at once.
	batchSize = 64

	// depth is how many chunks may wait to be written.
	depth = 8

	// maxEncoded is about what the longest packet takes in a file.
	maxEncoded = pcapfile.MaxPacket + 256
)

// source is what is stored: a stream.Listener. The contracts are its.
type source interface {
	ReadBatch(ctx context.Context, packets []stream.Packet) (int, error)
	Stats() stream.ListenerStats
}

// Storer writes one stream to files. Run it once.
type Storer struct {
	cfg     Config
	enc     pcapfile.Encoder
	zip     *pcapfile.Compressor // nil: none
	full    int                  // bytes after which a chunk is passed on
	lanes   []*lane
	stat    counters
	open    opener
	again   time.Duration // the least time between two files begun in a folder that fails
	turned  atomic.Bool   // somebody called Rotate
	every   atomic.Int64  // Config.Every, as it is now
	failing atomic.Bool   // what comes is not stored for the moment

	jobs chan *chunk // to the writer, in order
	work chan *chunk // to those that compress
	free chan *chunk

	// The goroutine of Run.
	filling
	before filling  // the batch in hand
	sealed []*chunk // full since then
	wait   store.Wait
	loss   watch
	batch  [batchSize]stream.Packet
}

// filling is how far the packets of a batch have got; it is undone when the batch
// turns out to be void.
type filling struct {
	cur    *chunk
	size   int       // of cur.raw
	held   part      // of cur
	since  time.Time // when cur got its first packet
	begun  bool      // what comes belongs to a file that has packets already
	until  int64     // stamp before which packets belong to it
	period int64     // that until comes from
	tally            // not yet counted
	said   said      // about losses
}

// tally is what became of packets read.
type tally struct {
	read, filtered Count
	cut, overtaken uint64
}

// New makes a Storer of files in dirs, one or more, which take turns.
func New(cfg Config, dirs ...*store.Dir) (*Storer, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if len(dirs) == 0 {
		return nil, errors.New("no folder to store in")
	}
	cfg = cfg.withDefaults()
	s := &Storer{
		cfg: cfg, enc: cfg.encoder(), open: openFile, again: time.Second, full: int(min(pcapfile.FrameSize, cfg.Size/2)),
		jobs: make(chan *chunk, depth), work: make(chan *chunk, depth), free: make(chan *chunk, 2*depth),
	}
	if cfg.Level != 0 {
		zip, err := pcapfile.NewCompressor(cfg.Level, cfg.Workers)
		if err != nil {
			return nil, err
		}
		s.zip = zip
	}
	for _, d := range dirs {
		s.lanes = append(s.lanes, &lane{dir: d})
	}
	s.every.Store(int64(cfg.Every))
	return s, nil
}

// Rotate has the next packet begin a new file. It may be called from any
// goroutine.
func (s *Storer) Rotate() { s.turned.Store(true) }

// SetEvery changes Config.Every. It may be called from any goroutine; the current
// file goes on to the end of the new period that it lies in.
func (s *Storer) SetEvery(every time.Duration) error {
	if err := checkEvery(every); err != nil {
		return err
	}
	s.every.Store(int64(every))
	return nil
}

// Run stores what l reads until the stream ends, and closes the last file. Any
// other end of l is an error, as is ctx being done; what was read is stored all
// the same, and the caller must close l, which would hold the stream back. Where a
// write fails Run goes on, and its error, in the end, says how much was not stored.
func (s *Storer) Run(ctx context.Context, l *stream.Listener) error { return s.run(ctx, l) }

func (s *Storer) run(ctx context.Context, src source) error {
	s.filling = filling{cur: s.room(), until: math.MaxInt64}
	s.loss.begin(src, s.cfg.Counters)
	w := newWriter(s)
	var workers, writing sync.WaitGroup
	if s.zip != nil {
		for range s.cfg.Workers {
			workers.Go(s.compress)
		}
	}
	writing.Go(w.run)
	err := s.read(ctx, src)
	s.commit(true)
	close(s.work)
	close(s.jobs)
	workers.Wait()
	writing.Wait()
	if err == io.EOF {
		err = nil
	}
	if lost := w.verdict(); lost != nil && err != nil {
		return fmt.Errorf("%w; %w", err, lost)
	} else if lost != nil {
		return lost
	}
	return err
}

// read takes packets until there are no more. A batch is good only when the next
// call says so.
func (s *Storer) read(ctx context.Context, src source) error {
	for {
		n, err := src.ReadBatch(s.wait.Until(ctx, s.patience()), s.batch[:])
		switch {
		case errors.Is(err, stream.ErrOverrun):
			s.undo() // it was overwritten while it was copied
			continue
		case errors.Is(err, stream.ErrDetached), errors.Is(err, stream.ErrClosed):
			s.undo() // it may have been
			return err
		}
		now := time.Now()
		s.commit(s.cur.Packets != 0 && now.Sub(s.since) >= s.cfg.Flush)
		s.turn(now, err != nil)
		switch {
		case err == nil:
			s.take(s.batch[:n], now, s.loss.look(src, now))
		case !store.IsWaited(err):
			return err
		}
	}
}

// patience is how long to wait for packets.
func (s *Storer) patience() time.Duration {
	if s.cur.Packets == 0 {
		return s.cfg.Flush
	}
	return max(s.cfg.Flush-time.Since(s.since), 0)
}

// turn ends the file if somebody asked for it, or if nothing comes and its period
// is over.
func (s *Storer) turn(now time.Time, idle bool) {
	if s.turned.Load() && s.turned.Swap(false) || idle && now.Add(-s.cfg.Flush).UnixNano() >= s.until {
		s.end()
		s.commit(false)
	}
}

// take encodes a batch of packets.
func (s *Storer) take(packets []stream.Packet, now time.Time, lost said) {
	s.overtaken += lost.overtaken
	s.said.add(lost)
	s.before = s.filling
	s.before.size, s.before.held = len(s.cur.raw), s.cur.part
	if n := s.every.Load(); n != s.period {
		if s.period = n; s.begun {
			s.until = s.ends(packets[0].UnixNano())
		}
	}
	for i := range packets {
		p := &packets[i]
		s.tally.read.add(1, uint64(len(p.Data)))
		if s.cfg.Filter != nil && !s.cfg.Filter.Match(p.Data, int(p.Len)) {
			s.filtered.add(1, uint64(len(p.Data)))
			continue
		}
		out := pcapfile.Packet{Nano: p.UnixNano(), Len: uint32(p.Len), Data: p.Data}
		if s.cfg.CapLen != 0 && len(p.Data) > s.cfg.CapLen {
			out.Data = p.Data[:s.cfg.CapLen]
			s.cut += uint64(len(p.Data) - s.cfg.CapLen)
		}
		if out.Nano >= s.until {
			s.end()
		}
		if !s.begun {
			s.begun, s.until = true, s.ends(out.Nano)
		}
		if s.cur.Packets == 0 {
			s.since = now
		}
		if s.said != (said{}) {
			out.Dropped, out.Comment = s.said.total(), s.said.String()
			s.cur.overtaken += s.said.overtaken
			s.said = said{}
		}
		s.cur.raw = s.enc.Packet(s.cur.raw, &out)
		s.cur.add(out.Nano, len(out.Data))
		if len(s.cur.raw) >= s.full {
			s.seal()
		}
	}
}

// ends is the stamp at which the period ends that nano lies in; the last of a day
// ends at midnight.
func (s *Storer) ends(nano int64) int64 {
	if s.period == 0 {
		return math.MaxInt64
	}
	midnight := nano - nano%int64(day) // all days of UTC are as long
	return min(midnight+(nano-midnight)/s.period*s.period+s.period, midnight+int64(day))
}

// end ends the current file, if it has any packets.
func (s *Storer) end() {
	if !s.begun {
		return
	}
	s.begun, s.until = false, math.MaxInt64
	s.cur.ends = true
	s.seal()
}

// seal passes the current chunk on, with the next commit.
func (s *Storer) seal() {
	s.sealed = append(s.sealed, s.cur)
	s.cur = s.room()
}

// commit counts the batch before, which is good, and passes on what is full; all of
// it if asked to.
func (s *Storer) commit(all bool) {
	if all && s.cur.Packets != 0 {
		s.seal()
	}
	if s.tally != (tally{}) {
		s.stat.took(s.tally)
		s.tally = tally{}
	}
	for i, c := range s.sealed {
		if s.zip != nil && len(c.raw) != 0 {
			s.work <- c
		}
		s.jobs <- c
		s.sealed[i] = nil
	}
	s.sealed = s.sealed[:0]
	s.before = filling{}
}

// undo takes back the batch before, which is void: its listener counts it as
// overtaken.
func (s *Storer) undo() {
	if s.before.cur == nil {
		return
	}
	for _, c := range append(s.sealed, s.cur) {
		if c != s.before.cur {
			s.recycle(c)
		}
	}
	clear(s.sealed)
	s.sealed = s.sealed[:0]
	s.filling = s.before
	s.cur.raw, s.cur.part, s.cur.ends = s.cur.raw[:s.size], s.held, false
	s.before = filling{}
}
