package archive

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ixcap/ixcap/capfile"
)

// List returns the stored files of folders, and stored files named one by one, sorted
// by port, queue and name: each queue's files are in the order of capture. A
// packet file that is named itself may have any name; it is known by its first bytes.
func List(paths ...string) ([]File, error) {
	var all []File
	seen := map[string]bool{}
	add := func(f File) {
		if !seen[f.Path] {
			seen[f.Path] = true
			all = append(all, f)
		}
	}
	for _, path := range paths {
		path = filepath.Clean(path)
		info, err := os.Stat(path)
		if target, notLink := os.Readlink(path); errors.Is(err, fs.ErrNotExist) && notLink == nil {
			return nil, fmt.Errorf("%s: dangling symbolic link: %s does not exist", path, target)
		}
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			f, err := named(path, info)
			if err != nil {
				return nil, err
			}
			add(f)
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			name := filepath.Join(path, e.Name())
			if f, ok := ParseName(name); ok && regular(e, name) {
				add(f)
			}
		}
	}
	slices.SortFunc(all, func(a, b File) int {
		return cmp.Or(strings.Compare(a.Port, b.Port), cmp.Compare(a.Queue, b.Queue),
			strings.Compare(filepath.Base(a.Path), filepath.Base(b.Path)), strings.Compare(a.Path, b.Path))
	})
	return all, nil
}

// regular reports whether a folder's entry is a regular file, or a symbolic link to
// one or to nothing: opening it does not block.
func regular(e os.DirEntry, path string) bool {
	if e.Type()&os.ModeSymlink == 0 {
		return e.Type().IsRegular()
	}
	info, err := os.Stat(path)
	return err != nil || info.Mode().IsRegular()
}

// named returns a file that is named itself.
func named(path string, info os.FileInfo) (File, error) {
	f, ok := ParseName(path)
	if !info.Mode().IsRegular() {
		return f, fmt.Errorf("%s: neither a folder nor a regular file", path)
	}
	if ok {
		return f, nil
	}
	if f.Packets = hasCapture(path); !f.Packets {
		return f, fmt.Errorf("%s: not a stored file: neither RAW (named %s or %s) nor pcap nor pcapng. Name a folder, or a capture file", path, Raw, RawPart)
	}
	return f, nil
}

// hasCapture reports whether a file begins as a packet file, compressed or not.
func hasCapture(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var head [12]byte
	n, _ := io.ReadFull(f, head[:])
	return capfile.Recognise(head[:n]) != ""
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
