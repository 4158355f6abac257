package cli

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/spf13/pflag"

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
// pcap or pcapng file. What a pipe holds is not examined.
func OpenRAW(name string) (io.ReadCloser, error) {
	in, err := Open(name)
	if err != nil {
		return nil, err
	}
	var head [12]byte
	if f, ok := in.(*os.File); ok {
		if n, err := f.ReadAt(head[:], 0); n == len(head) && (err == nil || err == io.EOF) {
			if format := packetFormat(head); format != "" {
				return nil, errors.Join(fmt.Errorf("%s: is a %s file, not a RAW file. pcap2raw reads it", name, format), in.Close())
			}
		}
	}
	return in, nil
}

// packetFormat is the format of a file that begins with head: pcap, pcapng or "".
func packetFormat(head [12]byte) string {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		magic, major, minor := order.Uint32(head[:]), order.Uint16(head[4:]), order.Uint16(head[6:])
		switch {
		case (magic == 0xa1b2c3d4 || magic == 0xa1b23c4d) && major == 2 && minor == 4:
			return "pcap"
		case magic == 0x0a0d0d0a && order.Uint32(head[8:]) == 0x1a2b3c4d:
			return "pcapng"
		}
	}
	return ""
}

// Create creates the output file of a conversion; "-" is standard output. It returns an
// error if the file is one of the inputs, or exists and force is not set. The output gets
// its name at Commit. Close without Commit removes it, and an earlier file stays.
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
	name  string // at Commit; "": standard output, a pipe or a device
	force bool   // replace an existing file
	done  bool
}

// Commit closes the output and gives it its name. Without force it returns an error if a
// file of that name has been created since Create.
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

// InOut are the input and output files of a conversion.
type InOut struct {
	Inputs []string
	Output string // "-" is standard output
	Force  bool   // replace an output that exists
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

// Create creates the output.
func (f *InOut) Create() (*Output, error) { return Create(f.Output, f.Inputs, f.Force) }

// Records returns the records of RAW files, one file after the other. A record is valid
// until the next one. An error is the last element.
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
