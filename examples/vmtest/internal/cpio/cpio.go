// Package cpio writes initramfs archives in the format "newc", which the kernel
// unpacks (Documentation/driver-api/early-userspace/buffer-format.rst). Several
// archives may follow each other in one file; a later one adds to the earlier.
package cpio

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// File types in the mode field, as in stat(2).
const (
	typeFile   = 0o100000
	typeDir    = 0o040000
	typeLink   = 0o120000
	typeDevice = 0o020000
)

// Writer writes one archive. All files belong to root.
type Writer struct {
	w    io.Writer
	n    int64 // bytes written
	last uint32
	err  error
}

// NewWriter returns a Writer of an archive that begins at w's current position,
// which must be a multiple of 4.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Dir adds a directory.
func (w *Writer) Dir(name string, perm fs.FileMode) error {
	return w.entry(name, typeDir|uint32(perm.Perm()), 0, 0, 0, nil)
}

// File adds a file with the given content.
func (w *Writer) File(name string, perm fs.FileMode, content []byte) error {
	return w.entry(name, typeFile|uint32(perm.Perm()), 0, 0, int64(len(content)), strings.NewReader(string(content)))
}

// Link adds a symbolic link.
func (w *Writer) Link(name, target string) error {
	return w.entry(name, typeLink|0o777, 0, 0, int64(len(target)), strings.NewReader(target))
}

// Device adds a character device.
func (w *Writer) Device(name string, perm fs.FileMode, major, minor uint32) error {
	return w.entry(name, typeDevice|uint32(perm.Perm()), major, minor, 0, nil)
}

// Copy adds a file of this machine.
func (w *Writer) Copy(name string, perm fs.FileMode, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return w.entry(name, typeFile|uint32(perm.Perm()), 0, 0, info.Size(), f)
}

// Tree adds all below the folder root, under the same names.
func (w *Writer) Tree(root string) error { return w.TreeAt("", root) }

// TreeAt adds all below the folder root as below the archive's folder at, which
// is made with those above it.
func (w *Writer) TreeAt(at, root string) error {
	for i := range len(at) {
		if at[i] == '/' {
			if err := w.Dir(at[:i], 0o755); err != nil {
				return err
			}
		}
	}
	if at != "" {
		if err := w.Dir(at, 0o755); err != nil {
			return err
		}
	}
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name := filepath.Join(at, rel)
		switch info.Mode().Type() {
		case fs.ModeDir:
			return w.Dir(name, info.Mode())
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return w.Link(name, target)
		case 0:
			return w.Copy(name, info.Mode(), path)
		default:
			return fmt.Errorf("cpio: %s: %s is not archived", path, info.Mode())
		}
	})
}

// Close ends the archive and pads it to a multiple of 512 bytes. It does not
// close the underlying writer.
func (w *Writer) Close() error {
	if err := w.entry("TRAILER!!!", 0, 0, 0, 0, nil); err != nil {
		return err
	}
	w.pad(512)
	return w.err
}

func (w *Writer) entry(name string, mode, major, minor uint32, size int64, content io.Reader) error {
	if w.err != nil {
		return w.err
	}
	if size > 0xffffffff {
		return fmt.Errorf("cpio: %s: %d bytes do not fit the format", name, size)
	}
	if name = strings.TrimPrefix(name, "/"); name == "" || strings.ContainsRune(name, 0) {
		return fmt.Errorf("cpio: name %q is not allowed", name)
	}
	w.last++
	links := uint32(1)
	// magic, ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor,
	// rdevmajor, rdevminor, namesize with the final zero, check
	w.write(fmt.Appendf(nil, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		w.last, mode, 0, 0, links, 0, size, 0, 0, major, minor, len(name)+1, 0, name))
	w.pad(4)
	if content != nil && w.err == nil {
		n, err := io.Copy(w.w, io.LimitReader(content, size))
		w.n += n
		if err == nil && n < size {
			err = fmt.Errorf("cpio: %s: %w: %d of %d bytes", name, io.ErrUnexpectedEOF, n, size)
		}
		w.err = err
		w.pad(4)
	}
	return w.err
}

func (w *Writer) pad(to int64) {
	if over := w.n % to; over > 0 {
		w.write(make([]byte, to-over))
	}
}

func (w *Writer) write(b []byte) {
	if w.err == nil {
		var n int
		n, w.err = w.w.Write(b)
		w.n += int64(n)
	}
}
