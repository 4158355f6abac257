package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ixcap/ixcap/capfile"
	"github.com/ixcap/ixcap/capture/archive/rawfile/convert"
)

// frames are the frames of a file, padded as on the wire.
type frames struct {
	data  [][]byte
	bytes int64
}

const (
	shortest = 60 // bytes of a frame without its CRC; senders pad with zeros
	overhead = 24 // preamble 8, CRC 4, gap 12
)

// load reads the frames of a pcap file.
func load(path string) (*frames, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	r, err := convert.NewReader(in, capfile.Options{Strict: true})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer r.Close()
	all := &frames{}
	for {
		rec, err := r.Next()
		if err == io.EOF && len(all.data) == 0 {
			return nil, fmt.Errorf("%s: no frames", path)
		}
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		frame := make([]byte, max(len(rec.Data), shortest))
		copy(frame, rec.Data)
		all.data = append(all.data, frame)
		all.bytes += int64(len(frame))
	}
}

// lineTime is the time that the frames take at 10 Gb/s, 0.8 ns a byte.
func (f *frames) lineTime() time.Duration {
	return time.Duration(f.bytes+int64(len(f.data))*overhead) * 8 / 10
}

// rawFiles lists the RAW files of a folder in the order of capture.
func rawFiles(dir string) ([]string, error) {
	if _, err := os.Stat(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return filepath.Glob(filepath.Join(dir, "*.raw"))
}
