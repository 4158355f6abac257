package store

import (
	"fmt"
	"strings"
	"time"
)

const (
	suffix  = ".raw"
	partial = ".raw.part"
)

// FileName is the name, without directory and suffix, of a file whose first
// record is stamped first. Names sort as the files were captured, those of
// several queues in one directory included; seq counts a queue's files and
// settles what one stamp leaves open.
func FileName(port string, queue int, first time.Time, seq int) string {
	t := first.UTC()
	return fmt.Sprintf("%s.%09dZ-%s-q%02d-%06d", t.Format("20060102T150405"), t.Nanosecond(), Label(port), queue, seq)
}

// maxLabel keeps file names of ports with long names within what file systems take.
const maxLabel = 48

// Label is a port's name made fit for a file name: its options (what follows a
// comma) dropped, the folders of a path as well, and anything but letters,
// digits, '.', '_' and '-' replaced.
func Label(port string) string {
	port, _, _ = strings.Cut(port, ",")
	if slash := strings.LastIndexByte(port, '/'); slash >= 0 {
		scheme, _, found := strings.Cut(port, ":")
		if port = port[slash+1:]; found {
			port = scheme + "_" + port
		}
	}
	label := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '_'
	}, port)
	if label == "" {
		label = "port"
	}
	return label[:min(len(label), maxLabel)]
}
