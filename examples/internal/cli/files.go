package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Open opens a file for reading; "-" is standard input.
func Open(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(os.Stdin), nil
	}
	return os.Open(name)
}

// Create creates the output file of a conversion; "-" is standard output. A file
// that exists is refused unless force is set, and is never one of the inputs. The
// output gets its name when it is closed with Commit; an output that is closed
// without is removed, and what was there stays.
func Create(name string, inputs []string, force bool) (*Output, error) {
	if name == "-" {
		return &Output{File: os.Stdout}, nil
	}
	st, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular(): // a pipe or a device
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		return &Output{File: f}, err
	default:
		if err := missing(inputs); err != nil {
			return nil, err
		}
		for _, in := range inputs {
			if i, err := os.Stat(in); err == nil && in != "-" && os.SameFile(st, i) {
				return nil, fmt.Errorf("output %s: is also an input. Choose another name", name)
			}
		}
		if !force {
			return nil, fmt.Errorf("output %s: file exists. Choose another name or add --force", name)
		}
		if real, err := filepath.EvalSymlinks(name); err == nil {
			name = real
		}
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".part-")
	if err != nil {
		return nil, fmt.Errorf("create output %s: %w", name, err)
	}
	return &Output{File: f, name: name, force: force}, nil
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

// Output is an output file of a conversion.
type Output struct {
	*os.File
	name  string // that it gets; "": it has its name already
	force bool   // replace a file of that name
	done  bool
}

// Commit closes the output and gives it its name. A file that appeared under that
// name since is not replaced, unless force was set.
func (o *Output) Commit() (err error) {
	if o.done {
		return nil
	}
	o.done = true
	part := o.File.Name()
	if o.name == "" {
		return o.File.Close()
	}
	defer func() {
		if err != nil {
			_ = os.Remove(part)
			err = fmt.Errorf("finish output %s: %w", o.name, err)
		}
	}()
	if err := errors.Join(o.File.Chmod(0o666&^umask()), o.File.Close()); err != nil {
		return err
	}
	if o.force {
		return os.Rename(part, o.name)
	}
	if err := os.Link(part, o.name); err != nil {
		return err
	}
	return os.Remove(part)
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
	return errors.Join(o.File.Close(), os.Remove(o.File.Name()))
}
