package series

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// level is one ring of a store.
type level struct {
	name  string
	step  int64
	slots int64
}

// levels are what a store keeps: seconds of a day, minutes of a month, hours of two years,
// days of ten. Each step is a multiple of the one before, and fits its ring.
var levels = [...]level{
	{"seconds", 1, 86400},
	{"minutes", 60, 31 * 1440},
	{"hours", 3600, 731 * 24},
	{"days", 86400, 3660},
}

// Steps are the spans of time that a Store keeps.
const (
	Second = time.Second
	Minute = time.Minute
	Hour   = time.Hour
	Day    = 24 * time.Hour
)

// Store keeps the points of a port in rings: the last day by seconds, the last 31 days by
// minutes, two years by hours and ten by days (of UTC). It has a fixed size, 88 + 32 bytes a
// series for each span; blocks of a file that are not used take no space.
//
// Each second is written at once to the rings of its minute, hour and day. After a crash
// what the kernel had not written is missing, or was torn; such spans fail their checksum.
// When a store is opened again, the current minute, hour and day are computed from the ring
// below, so they have what that has.
//
// A Store is for one goroutine. Other processes read the files at the same time with Open.
type Store struct {
	rings [len(levels)]*ringFile
	spans [len(levels)]Point // the current one of each ring; of the first one, scratch
	read  Point
}

// Create opens the rings of a port in a folder for writing, and makes those that are
// missing. names are those of the Recorder.
func Create(dir, port string, names []string) (*Store, error) {
	if !validName.MatchString(port) {
		return nil, fmt.Errorf("series: name %q of a port: want 1 to 32 letters, digits, _ . -", port)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("series: %w", err)
	}
	s := &Store{}
	for i, l := range levels {
		r, err := createRing(ringPath(dir, port, l), shape{l.step, l.slots, slices.Clone(names)})
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.rings[i] = r
	}
	return s, nil
}

// NewMemory returns a Store without files, which ends with the process.
func NewMemory(names []string) *Store {
	s := &Store{}
	for i, l := range levels {
		s.rings[i] = newMemoryRing(shape{l.step, l.slots, slices.Clone(names)})
	}
	return s
}

// Open opens the rings of a port for reading.
func Open(dir, port string) (*Store, error) {
	s := &Store{}
	for i, l := range levels {
		r, err := openRing(ringPath(dir, port, l))
		if err == nil && (r.step != l.step || i > 0 && !slices.Equal(r.names, s.rings[0].names)) {
			err = errors.Join(fmt.Errorf("open ring %s: it does not belong to the other rings of %s", ringPath(dir, port, l), port), r.medium.Close())
		}
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.rings[i] = r
	}
	return s, nil
}

func ringPath(dir, port string, l level) string { return filepath.Join(dir, port+"."+l.name) }

// Names are the names of the series.
func (s *Store) Names() []string { return slices.Clone(s.rings[0].names) }

// Close closes the files.
func (s *Store) Close() error {
	var all []error
	for _, r := range s.rings {
		if r != nil {
			all = append(all, r.medium.Close())
		}
	}
	return errors.Join(all...)
}

// Add adds a second. Seconds come in order; one that is there already, of a Recorder that
// ended within it, is added to. An error of the disk leaves the second out of the rings that
// it concerns.
func (s *Store) Add(p *Point) error {
	if p.Step != 1 || p.Time < 0 || len(p.Series) != len(s.rings[0].names) {
		return fmt.Errorf("series: point of %d s at %d with %d series: want 1 s, a time from 1970 on and %d series", p.Step, p.Time, len(p.Series), len(s.rings[0].names))
	}
	var all []error
	one := &s.spans[0]
	if err := s.rings[0].read(p.Time, one); err != nil {
		all = append(all, err)
	}
	if !one.Missing() {
		// Both are parts of the same second.
		active := max(one.Active, p.Active)
		one.add(p)
		one.Seconds, one.Partial, one.Active = 1, 1, active
		for i := range one.Series {
			one.Series[i].Peak = one.Series[i].Count
		}
		s.forget()
	} else {
		one.add(p)
	}
	if err := s.rings[0].write(one); err != nil {
		all = append(all, err)
	}
	for i := 1; i < len(levels); i++ {
		if err := s.fold(i, p); err != nil {
			all = append(all, err)
		}
	}
	if len(all) > 0 {
		return fmt.Errorf("write series: %w", errors.Join(all...))
	}
	return nil
}

// forget forgets the current spans, so that they are computed from the rings again.
func (s *Store) forget() {
	for i := 1; i < len(levels); i++ {
		s.spans[i] = Point{Series: s.spans[i].Series[:0]}
	}
}

// fold adds a second, which the ring below has, to its span of a ring.
func (s *Store) fold(i int, p *Point) error {
	l, span := levels[i], &s.spans[i]
	at := p.Time - mod(p.Time, l.step)
	if span.Step != 0 && span.Time == at {
		span.add(p)
		return s.rings[i].write(span)
	}
	span.reset(at, l.step, len(p.Series))
	below := s.rings[i-1]
	for t := at; t < at+l.step; t += below.step {
		if err := below.read(t, &s.read); err != nil {
			return err
		}
		span.add(&s.read)
	}
	return s.rings[i].write(span)
}

// Span is how far back a Store keeps spans of a step.
func Span(step time.Duration) (time.Duration, error) {
	l, err := levelOf(step)
	if err != nil {
		return 0, err
	}
	return time.Duration(levels[l].slots*levels[l].step) * time.Second, nil
}

func levelOf(step time.Duration) (int, error) {
	for i, l := range levels {
		if step == time.Duration(l.step)*time.Second {
			return i, nil
		}
	}
	return 0, fmt.Errorf("series: step of %v: want 1s, 1m, 1h or 24h", step)
}

// Points reads the spans that begin in an interval, from inclusive and to exclusive, oldest
// first. All are there: of what was not recorded, or is older than the ring, a missing
// point. An interval that is longer than the ring is an error. A point is valid until the
// next one.
func (s *Store) Points(from, to time.Time, step time.Duration) iter.Seq2[*Point, error] {
	return func(yield func(*Point, error) bool) {
		i, err := levelOf(step)
		if err != nil {
			yield(nil, err)
			return
		}
		r := s.rings[i]
		first, last := from.Unix(), to.Unix()
		if from.Nanosecond() > 0 {
			first++
		}
		if to.Nanosecond() > 0 {
			last++
		}
		if m := mod(first, r.step); m > 0 {
			first += r.step - m
		}
		if first < 0 || last > first && (last-first-1)/r.step >= r.slots {
			yield(nil, fmt.Errorf("series: %v by %v from %v: a ring holds %d spans: ask for a shorter interval, or a longer step",
				to.Sub(from), step, from.UTC().Format(time.RFC3339), r.slots))
			return
		}
		var p Point
		for at := first; at < last; at += r.step {
			err := r.read(at, &p)
			if !yield(&p, err) || err != nil {
				return
			}
		}
	}
}

// mod is the remainder of floored division.
func mod(a, b int64) int64 { return (a%b + b) % b }
