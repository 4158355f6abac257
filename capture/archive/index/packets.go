package index

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ixcap/ixcap/capfile"
	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
)

// NoIndex is the state of packet files: pcap and pcapng have no index.
const NoIndex State = "none"

// VerifyPackets reads a packet file completely, and describes it.
func VerifyPackets(f archive.File) (Report, error) {
	r := Report{File: f, Path: f.Path, Index: NoIndex}
	in, err := os.Open(f.Path)
	if err != nil {
		return r, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return r, err
	}
	r.Size = info.Size()
	r.Writing = archive.BeingWritten(in, r.Size)
	stored := r.Size
	if f.Part {
		stored = archive.Stored(in, r.Size)
	}
	if r.Size == 0 {
		if !r.Writing {
			r.problem("file is empty")
		}
		return r, nil
	}
	src := io.NewSectionReader(in, 0, stored)
	packets, err := capfile.NewReader(src, capfile.Options{})
	if err != nil && !(r.Writing && errors.Is(err, io.ErrUnexpectedEOF)) {
		return r, fmt.Errorf("%s: %w", f.Path, err)
	}
	if err != nil {
		return r, nil
	}
	defer packets.Close()
	r.readPackets(packets)
	if f.Stored() {
		r.addStoredProblems(src)
	}
	return r, nil
}

// readPackets reads to the end of the file.
func (r *Report) readPackets(packets *capfile.Reader) {
	var last int64
	var back, backAt uint64
	for {
		p, err := packets.Next()
		if err != nil {
			if err != io.EOF && !(r.Writing && errors.Is(err, io.ErrUnexpectedEOF)) {
				r.problem("%v", err)
			}
			break
		}
		at := time.Unix(0, p.Nano).UTC()
		if r.Frames == 0 {
			r.Earliest, r.Latest = at, at
		} else if p.Nano < last {
			if back++; back == 1 {
				backAt = p.Number
			}
		}
		last = p.Nano
		if at.Before(r.Earliest) {
			r.Earliest = at
		}
		if at.After(r.Latest) {
			r.Latest = at
		}
		r.Frames++
	}
	if back > 0 {
		r.problem("%d of %d stamps are earlier than the one before, first that of packet %d", back, r.Frames, backAt)
	}
	for _, n := range packets.Counts() {
		if n.Cause.LeftOut() {
			r.problem("%v", n)
		}
	}
}

// addStoredProblems adds the problems of a file whose name is that of a storer.
func (r *Report) addStoredProblems(src *io.SectionReader) {
	switch {
	case r.Writing:
	case r.File.Part:
		r.problem("file was not finished by its writer")
	case r.Frames > 0 && !r.Earliest.Equal(r.File.First):
		r.problem("its first packet is stamped %s, not as its name says", r.Earliest.Format(time.RFC3339Nano))
	case src.Size() > 0 && isZstd(src):
		if t, err := pcapfile.ReadTable(src, src.Size()); err == nil && (t == nil || !t.Timed) {
			r.problem("no seek table: queries find a time by trying")
		}
	}
}

// isZstd reports whether a file begins with a zstd frame.
func isZstd(src io.ReaderAt) bool {
	var head [4]byte
	n, _ := src.ReadAt(head[:], 0)
	return n == len(head) && head == [4]byte{0x28, 0xb5, 0x2f, 0xfd}
}
