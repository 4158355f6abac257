package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
)

// Create creates an output file; "-" is standard output. It returns an error if the
// output is one of the inputs, by any path, link or descriptor, or if it exists and
// force is not set. An input may be a directory: the files in it are inputs.
//
// A regular file is written beside its name, which it gets at Commit. Close without
// Commit removes it, and an earlier file stays; so does Commit after a write that
// failed. Descriptors (/dev/stdout, /dev/fd/3),
// pipes and devices are written directly. The output is binary: a terminal is refused, and
// CreateText is for text.
func Create(name string, inputs []string, force bool) (*Output, error) {
	out, err := CreateText(name, inputs, force)
	if err == nil && out.name == "" && IsTerminal(out.File) {
		return nil, errors.Join(fmt.Errorf("output %s: is a terminal, and packets are binary. Append a pipe, such as | tcpdump -n -r -, or redirect it to a file", name), out.Close())
	}
	return out, err
}

// IsStream reports whether an output's name stands for something that exists and is neither
// a regular file nor a directory: a descriptor, a pipe, a device.
func IsStream(name string) bool {
	if _, ok := descriptor(name); ok {
		return true
	}
	st, err := os.Stat(name)
	return err == nil && !st.Mode().IsRegular() && !st.IsDir()
}

// CreateText is Create for text.
func CreateText(name string, inputs []string, force bool) (*Output, error) {
	if fd, ok := descriptor(name); ok {
		return createFD(name, fd, inputs)
	}
	st, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Lstat(name); err == nil {
			return nil, fmt.Errorf("output %s: is a symbolic link to a file that does not exist. Remove it or choose another name", name)
		}
	case err != nil:
		return nil, err
	default:
		if err := missing(inputs); err != nil {
			return nil, err
		}
		if in, is := isInput(name, st, inputs); is {
			return nil, fmt.Errorf("output %s: is also an input (%s). Choose another name", name, in)
		}
		if block := st.Mode()&(fs.ModeDevice|fs.ModeCharDevice) == fs.ModeDevice; !force && (st.Mode().IsRegular() || block) {
			return nil, fmt.Errorf("output %s: file exists. Choose another name or add --force", name)
		}
		if !st.Mode().IsRegular() {
			f, err := os.OpenFile(name, os.O_WRONLY, 0)
			if err != nil {
				return nil, fmt.Errorf("open output: %w", err)
			}
			return &Output{File: f}, nil
		}
		if real, err := filepath.EvalSymlinks(name); err == nil {
			name = real
		}
	}
	unnamed.Lock()
	defer unnamed.Unlock()
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".part-")
	if err != nil {
		return nil, fmt.Errorf("create output %s: %w", name, err)
	}
	unnamed.paths[f.Name()] = true
	return &Output{File: f, name: name, force: force}, nil
}

// unnamed are the files of outputs that do not have their names yet.
var unnamed = struct {
	sync.Mutex
	paths map[string]bool
}{paths: map[string]bool{}}

// discardUnnamed removes the files of outputs that do not have their names yet. No output
// gets its name after that: the program must end.
func discardUnnamed() {
	unnamed.Lock() // for ever
	for path := range unnamed.paths {
		_ = os.Remove(path)
	}
}

// descriptor returns the open descriptor that a name stands for.
func descriptor(name string) (fd int, ok bool) {
	if name == "-" {
		return 1, true
	}
	switch path := filepath.Clean(name); path {
	case "/dev/stdout":
		return 1, true
	case "/dev/stderr":
		return 2, true
	default:
		for _, dir := range []string{"/dev/fd/", "/proc/self/fd/"} {
			if n, found := strings.CutPrefix(path, dir); found {
				fd, err := strconv.Atoi(n)
				return fd, err == nil && fd >= 0
			}
		}
	}
	return 0, false
}

// createFD makes an output of an open descriptor.
func createFD(name string, fd int, inputs []string) (*Output, error) {
	f := os.Stdout
	if fd == 1 && closedAtStart() {
		fmt.Fprintf(Stderr, "%s: warning: standard output was closed, or is /dev/null: what is written to it is lost\n", filepath.Base(os.Args[0]))
	}
	if fd != 1 {
		own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return nil, fmt.Errorf("output %s: %w", name, err)
		}
		f = os.NewFile(uintptr(own), name)
	}
	if st, err := f.Stat(); err == nil {
		if in, is := isInput("", st, inputs); is {
			return nil, fmt.Errorf("output %s: is also an input (%s). Choose another output", name, in)
		}
	}
	return &Output{File: f}, nil
}

// closedAtStart reports whether standard output may have been closed when the program
// began: the Go runtime opens /dev/null then, for reading and writing. A shell opens it for
// writing only; daemon(3) opens it as the runtime does.
func closedAtStart() bool {
	var st unix.Stat_t
	flags, err := unix.FcntlInt(1, unix.F_GETFL, 0)
	return err == nil && flags&unix.O_ACCMODE == unix.O_RDWR && unix.Fstat(1, &st) == nil &&
		st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3)
}

// isInput returns the input that is the file st, by device and inode, or the directory
// that holds the file of this name. Terminals and other character devices may be both.
func isInput(name string, st os.FileInfo, inputs []string) (input string, is bool) {
	if st.Mode()&fs.ModeCharDevice != 0 {
		return "", false
	}
	for _, in := range inputs {
		other, err := os.Stat(in)
		if in == "-" {
			other, err = os.Stdin.Stat()
		}
		switch {
		case err != nil:
		case os.SameFile(st, other), name != "" && st.Mode().IsRegular() && other.IsDir() && within(name, other):
			return in, true
		}
	}
	return "", false
}

// within reports whether a file lies in a directory or below.
func within(name string, dir os.FileInfo) bool {
	path, err := filepath.EvalSymlinks(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	for err == nil && path != "/" {
		path = filepath.Dir(path)
		if st, err := os.Stat(path); err == nil && os.SameFile(st, dir) {
			return true
		}
	}
	return false
}

// missing returns nil if one of the inputs exists, else the error of the first.
func missing(inputs []string) (err error) {
	for _, in := range inputs {
		if in == "-" {
			return nil
		}
		_, e := os.Stat(in)
		if e == nil {
			return nil
		}
		if err == nil {
			err = e
		}
	}
	return err
}

// Output is an output file.
type Output struct {
	*os.File
	name  string // at Commit; "": a descriptor, a pipe or a device
	force bool   // replace an existing file
	done  bool
	err   error // of the first write that failed
}

// Commit closes the output and gives it its name. Without force it returns an error if a
// file of that name has been created since Create. After a write that failed it discards
// the output and returns the error of that write.
func (o *Output) Commit() (err error) {
	if o.done {
		return nil
	}
	o.done = true
	part := o.File.Name()
	if o.name == "" {
		return o.File.Close()
	}
	if o.err != nil {
		return errors.Join(o.err, o.File.Close(), o.remove())
	}
	defer func() {
		if err != nil {
			_ = o.remove()
			err = fmt.Errorf("finish output %s: %w", o.name, err)
		}
	}()
	err = o.File.Chmod(0o666 &^ umask())
	if o.force { // a power failure must not cost the earlier file as well
		err = errors.Join(err, o.File.Sync())
	}
	if err := errors.Join(err, o.File.Close()); err != nil {
		return err
	}
	unnamed.Lock()
	defer unnamed.Unlock()
	rename := archive.RenamePath
	if o.force {
		rename = os.Rename
	}
	if err = rename(part, o.name); err == nil {
		delete(unnamed.paths, part)
	}
	return err
}

// remove removes an output that has no name.
func (o *Output) remove() error {
	unnamed.Lock()
	defer unnamed.Unlock()
	delete(unnamed.paths, o.File.Name())
	return os.Remove(o.File.Name())
}

// Close discards an output that has not been committed.
func (o *Output) Close() error {
	if o.done {
		return nil
	}
	o.done = true
	if o.name == "" {
		return o.File.Close()
	}
	return errors.Join(o.File.Close(), o.remove())
}

// umask returns the process's file mode creation mask. /proc shows it since Linux
// 4.7; umask(2) would change it for other threads.
func umask() os.FileMode {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0o022
	}
	for line := range bytes.Lines(text) {
		if octal, ok := bytes.CutPrefix(line, []byte("Umask:")); ok {
			if n, err := strconv.ParseUint(string(bytes.TrimSpace(octal)), 8, 32); err == nil {
				return os.FileMode(n)
			}
		}
	}
	return 0o022
}
