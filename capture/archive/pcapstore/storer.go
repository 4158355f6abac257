package pcapstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/stream"
)

const (
	// batchSize is how many packets are read from the stream at once.
	batchSize = 64

	// depth is how many chunks may wait to be written.
	depth = 8

	// maxEncoded is about the length in bytes of the longest packet in a file.
	maxEncoded = pcapfile.MaxPacket + 256
)

// source is a stream.Listener, with the contracts of its methods.
type source interface {
	ReadBatch(ctx context.Context, packets []stream.Packet) (int, error)
	Stats() stream.ListenerStats
	Uncertainty() time.Duration
}

// Storer writes one stream to files. Run it once.
type Storer struct {
	cfg    Config
	enc    pcapfile.Encoder
	dirs   *store.Dirs // of the writer
	pipe   *pipeline
	stat   counters
	losses store.Losses

	rotate  atomic.Bool  // the next packet begins a file
	every   atomic.Int64 // Config.Every, as it is now
	failing atomic.Bool  // packets read at present are not stored
}

// New makes a Storer of files in dirs, one or more, which take turns.
func New(cfg Config, dirs ...*store.Dir) (*Storer, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	s := &Storer{cfg: cfg, enc: cfg.encoder()}
	var zip *pcapfile.Compressor
	var err error
	if cfg.Level != 0 {
		if zip, err = pcapfile.NewCompressor(cfg.Level, cfg.Workers); err != nil {
			return nil, err
		}
	}
	s.pipe = newPipeline(int(min(pcapfile.FrameSize, cfg.Size/2)), zip)
	s.dirs, err = store.NewDirs(store.DirsConfig{
		Port: cfg.Port, Queue: cfg.Queue, Suffix: cfg.suffix(), FileSize: cfg.Size, Buffered: true, Losses: &s.losses,
		Text: func(a store.Amount) string { return fmt.Sprintf("%d packets", a.Packets) }, Logger: cfg.Logger,
	}, dirs...)
	if err != nil {
		return nil, err
	}
	s.every.Store(int64(cfg.Every))
	return s, nil
}

// Rotate makes the next packet begin a new file. Any goroutine may call it.
func (s *Storer) Rotate() { s.rotate.Store(true) }

// SetEvery changes Config.Every. Any goroutine may call it; the current file goes
// on to the end of the new period that it lies in.
func (s *Storer) SetEvery(every time.Duration) error {
	if err := store.CheckPeriod(every); err != nil {
		return err
	}
	s.every.Store(int64(every))
	return nil
}

// Run stores l until the stream ends, and closes the last file. Any other end of l
// is an error, as is ctx being done; what was read is stored all the same, and the
// caller must close l, which would block the producer. Run goes on after write
// errors; the error at the end says how much was not stored.
func (s *Storer) Run(ctx context.Context, l *stream.Listener) error { return s.run(ctx, l) }

func (s *Storer) run(ctx context.Context, src source) error {
	w := newWriter(s)
	w.uncertainty = src.Uncertainty
	var workers, writing sync.WaitGroup
	if s.pipe.zip != nil {
		for range s.cfg.Workers {
			workers.Go(s.pipe.compress)
		}
	}
	writing.Go(w.run)
	p := newPacker(s)
	err := s.read(ctx, src, p)
	p.flush()
	s.pipe.close()
	workers.Wait()
	writing.Wait()
	if err == io.EOF {
		err = nil
	}
	if lost := w.lossError(); lost != nil && err != nil {
		return fmt.Errorf("%w; %w", err, lost)
	} else if lost != nil {
		return lost
	}
	return err
}

// read passes packets to the packer until an error, io.EOF at the stream's end.
func (s *Storer) read(ctx context.Context, src source, p *packer) error {
	var timeout store.Timeout
	var batch [batchSize]stream.Packet
	watch := newLossWatch(src, s.cfg.Counters)
	for {
		wait := s.cfg.Flush
		if age, ok := p.age(time.Now()); ok {
			wait = max(wait-age, 0)
		}
		n, err := src.ReadBatch(timeout.Reset(ctx, wait), batch[:])
		switch {
		case errors.Is(err, stream.ErrOverrun):
			p.revert() // the batch was overwritten while it was encoded
			continue
		case errors.Is(err, stream.ErrDetached), errors.Is(err, stream.ErrClosed):
			p.revert() // it may have been
			return err
		}
		now := time.Now()
		if age, ok := p.age(now); ok && age >= s.cfg.Flush {
			p.flush()
		} else {
			p.confirm()
		}
		idle := err != nil
		if s.rotate.Load() && s.rotate.Swap(false) || idle && now.Add(-s.cfg.Flush).UnixNano() >= p.now.fileEnd {
			p.endFile()
			p.confirm()
		}
		switch {
		case err == nil:
			p.add(batch[:n], now, watch.sample(src, now), time.Duration(s.every.Load()))
		case !errors.Is(err, store.ErrTimeout):
			return err
		}
	}
}
