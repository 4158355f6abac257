package index

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// File is a RAW file as its name describes it.
type File struct {
	Path  string
	Part  bool      // it is being written, or was when its writer ended
	Port  string    // label of the port; "" if the name does not say
	Queue int       // -1 if the name does not say
	Seq   int       // of the queue's files in their run; -1 if the name does not say
	First time.Time // stamp of the first record by the name; zero if it does not say
}

// names are those that package store gives.
var names = regexp.MustCompile(`^(\d{8}T\d{6}\.\d{9})Z-(.+)-q(\d{2,9})-(\d{6,18})$`)

// ParseName tells what a RAW file's name says of it, and whether it is one of a
// RAW file at all.
func ParseName(path string) (File, bool) {
	f := File{Path: path, Queue: -1, Seq: -1}
	base := filepath.Base(path)
	stem, raw := strings.CutSuffix(base, rawSuffix)
	if !raw {
		stem, f.Part = strings.CutSuffix(base, partSuffix)
	}
	if !raw && !f.Part {
		return f, false
	}
	if m := names.FindStringSubmatch(stem); m != nil {
		first, err := time.Parse("20060102T150405.000000000", m[1])
		queue, _ := strconv.Atoi(m[3])
		if seq, e := strconv.Atoi(m[4]); err == nil && e == nil {
			f.Port, f.Queue, f.Seq, f.First = m[2], queue, seq, first
		}
	}
	return f, true
}

// Sidecar is the path of the file's sidecar.
func (f File) Sidecar() string { return SidecarName(f.Path) }

// List gives the RAW files of folders, and of files named one by one, sorted by
// port, queue and name: the order in which each queue's were captured.
func List(paths ...string) ([]File, error) {
	var all []File
	seen := map[string]bool{}
	add := func(path string) bool {
		f, ok := ParseName(path)
		if ok && !seen[path] {
			seen[path] = true
			all = append(all, f)
		}
		return ok
	}
	for _, path := range paths {
		path = filepath.Clean(path)
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			if !add(path) {
				return nil, fmt.Errorf("%s: name a folder, or a file that ends in %s or %s", path, rawSuffix, partSuffix)
			}
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !e.IsDir() {
				add(filepath.Join(path, e.Name()))
			}
		}
	}
	slices.SortFunc(all, func(a, b File) int {
		return cmp.Or(strings.Compare(a.Port, b.Port), cmp.Compare(a.Queue, b.Queue),
			strings.Compare(filepath.Base(a.Path), filepath.Base(b.Path)), strings.Compare(a.Path, b.Path))
	})
	return all, nil
}
