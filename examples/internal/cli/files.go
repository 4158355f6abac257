package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/pflag"

	"github.com/ixcap/ixcap/capfile"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// Open opens a file for reading; "-" is standard input.
func Open(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(os.Stdin), nil
	}
	return os.Open(name)
}

// OpenRAW opens a RAW file for reading; "-" is standard input. It returns an error for a
// capture file of another format, by its content: from a pipe, too.
func OpenRAW(name string) (io.ReadCloser, error) {
	in, err := Open(name)
	if err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(in, 1<<16)
	head, _ := r.Peek(12) // an error comes again
	if format := capfile.Recognise(head); format != "" {
		what := "pcap2raw reads it"
		if !strings.HasPrefix(format, "pcap") {
			what = "Decompress it if it holds RAW; pcap2raw reads it if it holds pcap or pcapng"
		}
		return nil, errors.Join(fmt.Errorf("%s: is a %s file, not a RAW file. %s", name, format, what), in.Close())
	}
	return input{r, in}, nil
}

// input is an input of which the start has been examined.
type input struct {
	io.Reader
	io.Closer
}

// InOut are the input and output files of a conversion.
type InOut struct {
	Inputs []string
	Output string // "-" is standard output
	Force  bool   // replace an output that exists
	Text   bool   // the output is text
}

// Flags defines -r, -w and --force.
func (f *InOut) Flags(flags *pflag.FlagSet) {
	flags.StringArrayVarP(&f.Inputs, "read", "r", nil, "read this `file`; - is standard input; may be repeated, operands are inputs too")
	flags.StringVarP(&f.Output, "write", "w", "", "write this `file`; - is standard output")
	flags.BoolVar(&f.Force, "force", false, "replace an output that exists")
}

// Operands adds the operands of the command line: inputs, or HPCAP's form "IN OUT" if
// there are two and neither -r nor -w. It reports whether it was HPCAP's form.
func (f *InOut) Operands(args []string) (hpcap bool, err error) {
	if f.Output == "" && len(f.Inputs) == 0 && len(args) == 2 {
		f.Inputs, f.Output, hpcap = args[:1], args[1], true
	} else {
		f.Inputs = append(f.Inputs, args...)
	}
	switch {
	case len(f.Inputs) == 0:
		return hpcap, Usagef("no input: name the files to read")
	case slices.Contains(f.Inputs, ""):
		return hpcap, Usagef("input \"\": the name is empty")
	}
	return hpcap, nil
}

// Check returns an error if the output's name promises a compression, if an input is a
// directory, or if an earlier output would be replaced although one of the inputs cannot
// be opened. open opens an input and reads its header. Pipes are not opened. parts are
// the earlier outputs of one in parts.
func (f *InOut) Check(parts *Parts, open func(name string) (io.Closer, error)) error {
	if err := Uncompressed(f.Output); err != nil {
		return err
	}
	var bad []error
	for _, name := range f.Inputs {
		st, err := os.Stat(name)
		switch {
		case name == "-":
		case err == nil && st.IsDir():
			return fmt.Errorf("input %s: is a directory. Name the files in it", name)
		case !f.Force:
		case err != nil:
			bad = append(bad, err)
		case st.Mode().IsRegular():
			in, err := open(name)
			if err == nil {
				err = in.Close()
			}
			if err != nil {
				bad = append(bad, err)
			}
		}
	}
	st, err := os.Stat(f.Output)
	if replaces := parts == nil && err == nil && st.Mode().IsRegular() || parts != nil && len(parts.earlier) > 0; replaces && bad != nil {
		return errors.Join(append(bad, fmt.Errorf("output %s: not replaced, an input cannot be read. Omit that input, or choose another name", f.Output))...)
	}
	return nil
}

// Uncompressed returns a usage error if the name of an output is that of a compressed file.
func Uncompressed(output string) error {
	ext := strings.ToLower(filepath.Ext(output))
	if program := map[string]string{".gz": "gzip", ".zst": "zstd", ".lz4": "lz4", ".bz2": "bzip2", ".xz": "xz"}[ext]; program != "" {
		return Usagef("output %s: outputs are not compressed. Write -w - and append | %s > %s", output, program, output)
	}
	return nil
}

// Create creates the output. A signal that ends the program removes it.
func (f *InOut) Create() (*Output, error) {
	signalled.Do(removeOnSignal)
	if f.Text {
		return CreateText(f.Output, f.Inputs, f.Force)
	}
	return Create(f.Output, f.Inputs, f.Force)
}

// signalled is done once signals remove outputs.
var signalled sync.Once

// Records returns the records of RAW files, one file after the other. A record is valid
// until the next one. After an error comes the next file.
func Records(names []string) iter.Seq2[rawfile.Record, error] {
	return func(yield func(rawfile.Record, error) bool) {
		for _, name := range names {
			if !yieldFile(name, yield) {
				return
			}
		}
	}
}

// yieldFile yields the records of a file and reports whether the next file follows.
func yieldFile(name string, yield func(rawfile.Record, error) bool) bool {
	in, err := OpenRAW(name)
	if err != nil {
		return yield(rawfile.Record{}, err)
	}
	defer in.Close()
	for rec, err := range rawfile.NewReader(in).Records() {
		if err != nil {
			return yield(rec, fmt.Errorf("%s: %w", name, err))
		}
		if !yield(rec, nil) {
			return false
		}
	}
	return true
}

// Listen listens on a UNIX socket. It replaces the socket file of a program that was
// killed.
func Listen(path string) (*net.UnixListener, error) {
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("listen on socket %s: another program serves it. Stop that program or choose another path", path)
	}
	if st, err := os.Lstat(path); err == nil && st.Mode().Type() == os.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("listen on socket %s: %w", path, err)
		}
	}
	return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
}
