package cli

import (
	"fmt"
	"iter"

	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// Records walks the records of several RAW files, one file after the other. A
// record is valid until the next one; an error ends the walk.
func Records(names []string) iter.Seq2[rawfile.Record, error] {
	return func(yield func(rawfile.Record, error) bool) {
		for _, name := range names {
			if !one(name, yield) {
				return
			}
		}
	}
}

// one walks one file, and reports whether to go on with the next.
func one(name string, yield func(rawfile.Record, error) bool) bool {
	in, err := Open(name)
	if err != nil {
		return yield(rawfile.Record{}, err) && false
	}
	defer in.Close()
	for rec, err := range rawfile.NewReader(in).Records() {
		if err != nil {
			return yield(rec, fmt.Errorf("%s: %w", name, err)) && false
		}
		if !yield(rec, nil) {
			return false
		}
	}
	return true
}
