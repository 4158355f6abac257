package index

import (
	"fmt"
	"time"

	"github.com/ixcap/ixcap/capture/archive"
)

// Report describes a file and its index. Times are those of the records' stamps.
type Report struct {
	File            archive.File `json:"-"`
	Path            string       `json:"file"`
	Size            int64        `json:"bytes"`
	Records         int64        `json:"record_bytes"` // up to the end of the last complete record; of a packet file 0
	Frames          uint64       `json:"frames"`
	Earliest        time.Time    `json:"earliest,omitzero"`
	Latest          time.Time    `json:"latest,omitzero"`
	Writing         bool         `json:"writing,omitempty"` // another process is writing it
	Index           State        `json:"index"`
	IndexSize       int64        `json:"index_bytes"`
	MissingSegments int          `json:"missing_segments,omitempty"` // between the queue's file before it and this one
	Gap             int64        `json:"gap_ns,omitempty"`           // since the latest stamp of that file, if both are of one run
	Problems        []string     `json:"problems,omitempty"`

	indexProblems []string // those of Problems that a new index removes
	lasting       []string // those that no repair removes
	end           ending
	stored        int64 // bytes before the first hole that a storer left
}

// State is the state of an index.
type State string

// States of an index.
const (
	Complete State = "complete"
	Partial  State = "partial" // of a file that was not closed: valid as far as it goes
	Missing  State = "missing"
	Damaged  State = "damaged"
	Stale    State = "stale" // it describes other records
)

// endKind is what follows the last complete record of a file.
type endKind uint8

const (
	endUnknown  endKind = iota // not determined: the file is being written
	endClosed                  // padding up to the end
	endZeros                   // padding shorter than the zeros that follow
	endShort                   // padding longer than the file
	endUnclosed                // the end of the file
	endCut                     // an incomplete record
	endNoRecord                // bytes that are no record
	endMore                    // padding, then bytes that are not zeros
)

// ending describes the end of a file.
type ending struct {
	kind  endKind
	bytes int64 // after the last complete record and, if there is one, the padding's header
	dirty bool  // they are not all zeros
}

func (r *Report) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

func (r *Report) indexProblem(format string, args ...any) {
	r.indexProblems = append(r.indexProblems, fmt.Sprintf(format, args...))
}

// Inspect describes a file by its index. It reads the file itself only if the index is
// not complete.
func Inspect(f archive.File) (Report, error) {
	r := Report{File: f, Path: f.Path}
	raw, err := open(&r)
	if err != nil {
		return r, err
	}
	defer raw.Close()
	side := r.readSidecar(raw)
	if r.Index != Complete {
		x, _, _, err := expect(raw, r.stored)
		if err != nil {
			return r, err
		}
		side.Trailer = x.trailer
	}
	r.summarize(side.Trailer)
	r.Problems = append(r.Problems, r.indexProblems...)
	return r, nil
}

func (r *Report) summarize(t Trailer) {
	r.Records, r.Frames = t.Records, t.Frames
	if t.Frames > 0 {
		r.Earliest, r.Latest = time.Unix(0, t.Earliest).UTC(), time.Unix(0, t.Latest).UTC()
	}
}

// addProblems adds the problems of the file's structure and order.
func (r *Report) addProblems(b *Builder, bad error) {
	if b.back > 0 {
		r.problem("%d of %d stamps are earlier than the one before, first in the record at byte %d", b.back, r.Frames, b.backAt)
		r.lasting = r.Problems
	}
	if r.Writing {
		return
	}
	switch r.end.kind {
	case endNoRecord:
		r.problem("%v; %d bytes follow", bad, r.end.bytes)
	case endCut:
		r.problem("file is cut: the record at byte %d is not complete", b.at)
	case endUnclosed:
		r.problem("file was not closed: no padding record after the last of its %d records", r.Frames)
	case endShort:
		r.problem("file is cut in its padding: all records are complete")
	case endZeros:
		if !r.File.Part {
			r.problem("%d zeros after the padding", r.end.bytes)
		}
	case endMore:
		r.problem("%d bytes after the padding at byte %d, not all zeros", r.end.bytes, b.at)
	}
	if r.File.Part {
		r.problem("file was not finished by its writer")
	}
}

// After compares a file with the one before it in archive.List's order. It adds
// segments of the same queue that are missing between them, and an overlap in time.
func (r *Report) After(p *Report) {
	if r.File.Seq < 1 || p.File.Seq < 0 || p.File.Port != r.File.Port || p.File.Queue != r.File.Queue {
		return // the first of a run, or not known
	}
	if p.File.Seq == r.File.Seq && p.File.First.Equal(r.File.First) {
		return // the same in another format
	}
	sameRun := p.File.Seq < r.File.Seq
	r.MissingSegments = r.File.Seq
	if sameRun {
		r.MissingSegments -= p.File.Seq + 1
	}
	switch {
	case r.MissingSegments == 1:
		r.problem("1 segment before this one is missing")
	case r.MissingSegments > 1:
		r.problem("%d segments before this one are missing", r.MissingSegments)
	}
	if !sameRun || p.Frames == 0 || r.Frames == 0 {
		return
	}
	if gap := r.Earliest.Sub(p.Latest); gap >= 0 {
		r.Gap = int64(gap)
	} else {
		r.problem("begins %v before the end of %s", -gap, p.Path)
	}
}
