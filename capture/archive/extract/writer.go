package extract

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/query"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/units"
)

// Snaplen is the snapshot length of files, in bytes: tcpdump's default. Longer packets
// are cut.
const Snaplen = 256 << 10

// statistics is the length in bytes of an interface's counters at the end of a file.
const statistics = 192

// Output is a file being written. It gets its name at Commit. Close without Commit
// removes it.
type Output interface {
	io.Writer
	Commit() error
	Close() error
}

// Config configures a Writer. Zero values mean no limit.
type Config struct {
	Name    string // of the file; with a limit its parts are numbered (PartName)
	Format  pcapfile.Format
	Snaplen int    // bytes kept of a packet
	Filter  string // expression that the packets match, for the interfaces

	// A new file begins before it has more bytes than Size or more packets than
	// Packets, and at multiples of Every since midnight UTC by the stamps of packets.
	Size    int64
	Packets uint64
	Every   time.Duration

	// Uncertainty returns that of a source's stamps (query.Result), which the end of a
	// pcapng file tells. nil: it is not known.
	Uncertainty func(*query.Source) time.Duration

	// Create begins a file. It does not replace one, unless the user wants that.
	Create func(name string) (Output, error)
}

func (c *Config) split() bool { return c.Size != 0 || c.Packets != 0 || c.Every != 0 }

// PartName returns the name of part n of a file: "a-000001.pcap" of "a.pcap".
func PartName(name string, n int) string {
	ext := filepath.Ext(name)
	return fmt.Sprintf("%s-%06d%s", strings.TrimSuffix(name, ext), n, ext)
}

// Writer writes the packets of one query. Its methods belong to one goroutine.
type Writer struct {
	cfg     Config
	parts   int // begun
	out     Output
	file    *pcapfile.Writer                       // nil: no packet yet
	told    map[*query.Source]port                 // in the statistics of earlier files
	sources map[*query.Source]*pcapfile.Statistics // interfaces of the file
	packets uint64                                 // of the file
	end     int64                                  // stamp at which the file's period ends, ns
	skipped uint64                                 // packets whose stamps the format cannot hold
	first   time.Time                              // the stamp of the first of them
	err     error                                  // the first one of an output; the file is not committed
}

// New creates the first file.
func New(cfg Config) (*Writer, error) {
	w := &Writer{cfg: cfg, told: map[*query.Source]port{}}
	if err := w.create(); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *Writer) create() error {
	name := w.cfg.Name
	if w.cfg.split() {
		name = PartName(name, w.parts)
	}
	w.parts++
	w.sources = map[*query.Source]*pcapfile.Statistics{}
	out, err := w.cfg.Create(name)
	if err != nil {
		return err
	}
	w.out = out
	return nil
}

// Parts returns the number of files begun.
func (w *Writer) Parts() int { return w.parts }

// Whole reports whether no output failed.
func (w *Writer) Whole() bool { return w.err == nil }

// Write appends a packet. After an error it returns the same error again.
func (w *Writer) Write(p *query.Packet) error {
	if w.err == nil {
		w.err = w.write(p)
	}
	return w.err
}

func (w *Writer) write(p *query.Packet) error {
	out := p.Packet
	most := uint32(cmp.Or(w.cfg.Snaplen, Snaplen))
	out.Data = out.Data[:min(len(out.Data), int(most))]
	if out.Nano < 0 || w.cfg.Format == pcapfile.Pcap && out.Nano/1e9 > math.MaxUint32 {
		if w.skipped++; w.skipped == 1 {
			w.first = out.Time()
		}
		return nil
	}
	if w.packets > 0 && w.full(p.Source, &out) {
		if err := w.endFile(); err != nil {
			return err
		}
		if err := w.create(); err != nil {
			return err
		}
	}
	s, err := w.source(p.Source)
	if err != nil {
		return err
	}
	out.Interface = s.Interface
	if s.Delivered == 0 {
		s.Start = out.Time()
	}
	s.Delivered++
	s.Accepted++
	s.OSDropped += out.Dropped
	s.End = out.Time()
	if w.packets == 0 && w.cfg.Every != 0 {
		w.end = store.PeriodEnd(out.Time(), w.cfg.Every).UnixNano()
	}
	w.packets++
	return w.file.Write(&out)
}

// full reports whether a packet begins a new file.
func (w *Writer) full(s *query.Source, p *pcapfile.Packet) bool {
	switch {
	case w.cfg.Packets != 0 && w.packets >= w.cfg.Packets, w.cfg.Every != 0 && p.Nano >= w.end:
		return true
	case w.cfg.Size == 0:
		return false
	}
	e := w.encoder(s)
	size := w.file.Size() + int64(e.PacketSize(p))
	if w.cfg.Format == pcapfile.Pcapng {
		size += int64(statistics * (len(w.sources) + 1))
		if w.sources[s] == nil {
			size += int64(len(e.AddInterface(nil, &e.Interface)))
		}
	}
	return size > w.cfg.Size
}

func (w *Writer) encoder(s *query.Source) pcapfile.Encoder {
	return pcapfile.Encoder{Format: w.cfg.Format, Interface: pcapfile.Interface{
		Name: s.Name, Description: s.Description, Filter: w.cfg.Filter, Snaplen: uint32(cmp.Or(w.cfg.Snaplen, Snaplen)),
	}}
}

// source returns the counters of a source in the current file, and adds its interface.
func (w *Writer) source(s *query.Source) (*pcapfile.Statistics, error) {
	if found := w.sources[s]; found != nil {
		return found, nil
	}
	e, number := w.encoder(s), uint32(0)
	if w.file == nil {
		var err error
		if w.file, err = pcapfile.NewWriter(w.out, e, 0); err != nil {
			return nil, err
		}
	} else {
		number = w.file.AddInterface(&e.Interface)
	}
	one := &pcapfile.Statistics{Interface: number}
	w.sources[s] = one
	return one, nil
}

// Flush writes what is buffered. After an error it returns the same error again.
func (w *Writer) Flush() error {
	if w.err == nil && w.file != nil {
		w.err = w.file.Flush()
	}
	return w.err
}

// Finish ends the last file. A result without packets is a file without packets. The
// error of packets whose stamps the format cannot hold comes last. After an error of Write
// or Flush it returns nil and commits nothing.
func (w *Writer) Finish() error {
	if w.err != nil {
		return nil
	}
	if w.file == nil {
		var err error
		e := w.encoder(&query.Source{Name: pcapfile.Application})
		if w.file, err = pcapfile.NewWriter(w.out, e, 0); err != nil {
			w.err = err
			return err
		}
	}
	if w.err = w.endFile(); w.err != nil {
		return w.err
	}
	if w.skipped > 0 {
		return fmt.Errorf("%s left out: %s cannot hold their stamps, the first is %s", units.Plural(w.skipped, "packet"), w.cfg.Format, w.first.Format(time.RFC3339Nano))
	}
	return nil
}

// port are a source's counters.
type port struct{ received, dropped uint64 }

// endFile ends the current file with the counters of the interfaces that lost packets,
// or whose stamps' uncertainty is known, and commits it.
func (w *Writer) endFile() error {
	var lost []pcapfile.Statistics
	for from, s := range w.sources {
		if w.cfg.Uncertainty != nil {
			s.Uncertainty = w.cfg.Uncertainty(from)
		}
		told := w.told[from]
		s.Received, s.Dropped = from.Received-told.received, from.Dropped-told.dropped
		s.Port = s.Dropped > 0
		w.told[from] = port{from.Received, from.Dropped}
		if s.OSDropped > 0 || s.Port || s.Uncertainty > 0 {
			lost = append(lost, *s)
		}
	}
	slices.SortFunc(lost, func(a, b pcapfile.Statistics) int { return cmp.Compare(a.Interface, b.Interface) })
	if err := w.file.Close(lost...); err != nil {
		return err
	}
	w.file, w.packets = nil, 0
	return w.out.Commit()
}

// Close discards a file that was not finished.
func (w *Writer) Close() error {
	if err := w.out.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
