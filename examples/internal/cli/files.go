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

// Create creates the output file of a conversion; "-" is standard output. An
// output that is one of the inputs is refused before it is emptied.
func Create(name string, inputs []string) (io.WriteCloser, error) {
	if name == "-" {
		return os.Stdout, nil
	}
	if out, err := os.Stat(name); err == nil {
		for _, in := range inputs {
			if i, err := os.Stat(in); err == nil && in != "-" && os.SameFile(out, i) {
				return nil, fmt.Errorf("output %s is also an input", name)
			}
		}
	}
	return os.Create(name)
}
