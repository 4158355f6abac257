package archive

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// List returns the RAW files of folders, and RAW files named one by one, sorted by
// port, queue and name: each queue's files are in the order of capture.
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
				return nil, fmt.Errorf("%s: not a RAW file. Name a folder, or a file that ends in %s or %s", path, Raw, RawPart)
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

// Folder is a listing of a folder.
type Folder struct {
	Path  string
	Names []string // of the regular files, sorted
	set   map[string]bool
}

// ReadFolder lists a folder's regular files. Symbolic links are left out.
func ReadFolder(path string) (*Folder, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	f := &Folder{Path: path, set: make(map[string]bool, len(entries))}
	for _, e := range entries {
		if e.Type().IsRegular() {
			f.set[e.Name()] = true
			f.Names = append(f.Names, e.Name())
		}
	}
	return f, nil
}

// Has reports whether the listing has a name.
func (f *Folder) Has(name string) bool { return f.set[name] }
