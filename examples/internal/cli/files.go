package cli

import (
	"fmt"
	"io"
	"os"
)

// Open opens a file for reading; "-" is standard input.
func Open(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(os.Stdin), nil
	}
	return os.Open(name)
}

// Create creates the output file of a conversion; "-" is standard output. What
// is there already is not emptied for nothing: an output that is one of the
// inputs is refused, and so is a conversion none of whose inputs is there.
func Create(name string, inputs []string) (io.WriteCloser, error) {
	if name == "-" {
		return os.Stdout, nil
	}
	if out, err := os.Stat(name); err == nil {
		if err := missing(inputs); err != nil {
			return nil, err
		}
		for _, in := range inputs {
			if i, err := os.Stat(in); err == nil && in != "-" && os.SameFile(out, i) {
				return nil, fmt.Errorf("output %s is also an input", name)
			}
		}
	}
	return os.Create(name)
}

// missing is nil when any of the inputs is there, else why the first is not.
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
