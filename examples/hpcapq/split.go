package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// split is how an output is split, beside size and time.
type split struct {
	packets uint64 // of a file; 0: no limit
	files   bool   // a file for each input file
}

func (s *split) String() string {
	switch {
	case s.files:
		return "file"
	case s.packets > 0:
		return strconv.FormatUint(s.packets, 10)
	}
	return ""
}

// Set implements pflag.Value.
func (s *split) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 64)
	if text != "file" && (err != nil || n == 0) {
		return errors.New("must be a number of packets, or file")
	}
	*s = split{packets: n, files: text == "file"}
	return nil
}

// Type implements pflag.Value.
func (*split) Type() string { return "SPLIT" }

// fileNames are the names of outputs for input files.
type fileNames map[string]bool

// of returns the name of the output for an input file: OUT-INPUT.pcap, numbered if
// several inputs have the same name.
func (names fileNames) of(out, input string) string {
	ext := filepath.Ext(out)
	stem, _, _ := strings.Cut(filepath.Base(input), ".raw")
	for _, suffix := range []string{".part", ".zst", ".gz", ".lz4", ".pcapng", ".pcap"} {
		stem = strings.TrimSuffix(stem, suffix)
	}
	for n := 1; ; n++ {
		name := strings.TrimSuffix(out, ext) + "-" + stem
		if n > 1 {
			name += fmt.Sprintf("-%d", n)
		}
		if name += ext; !names[name] {
			names[name] = true
			return name
		}
	}
}
