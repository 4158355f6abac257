// Pcap2raw converts capture files of other programs to RAW files.
package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ixcap/ixcap/capfile"
	"github.com/ixcap/ixcap/capture/archive/extract"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/archive/rawfile/convert"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

func main() { cli.Main(command()) }

func command() *cobra.Command {
	var files cli.InOut
	var in input
	var segment units.Size
	cmd := &cobra.Command{
		Use:   "pcap2raw [flags] -w OUT IN...\n  pcap2raw PCAP RAW",
		Short: "Convert pcap and pcapng files to RAW files",
		Long: `Convert pcap and pcapng files to RAW files.

Inputs are pcap and pcapng files of any program, compressed with gzip, zstd, lz4 or
bzip2 or not. They are written one after the other, in the order given. With
--segment the output is several files of exactly that size, except for the last one:
OUT.raw becomes OUT-000000.raw, OUT-000001.raw and so on.

RAW holds Ethernet frames of at most 65535 bytes, stamped between 1970 and 2106.
Packets that it cannot hold are left out, counted by cause and named, and the exit
status is 1. With --strict the first one ends the conversion. Frame check sequences
that a file says it has are removed. With --force an earlier output is replaced only
if all inputs can be opened.`,
		Example: `  pcap2raw -w all.raw first.pcap second.pcapng.gz
  pcap2raw --interface eth1 -w eth1.raw both.pcapng
  pcap2raw --segment 2GiB -w all.raw huge.pcap`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cli.NotEmpty(cmd); err != nil {
				return err
			}
			hpcap, err := files.Operands(args)
			if err != nil {
				return err
			}
			switch {
			case hpcap && slices.Contains([]string{".pcap", ".pcapng", ".gz", ".zst", ".lz4", ".bz2"}, filepath.Ext(files.Output)):
				return cli.Usagef("no output: %s has the name of an input. Name the output with -w", files.Output)
			case files.Output == "":
				return cli.Usagef("no output: name it with -w")
			case segment != 0 && segment < rawfile.MinSegment:
				return cli.Usagef("--segment %v: must hold the longest record. Choose %v or more", segment, units.Size(rawfile.MinSegment))
			case files.Output == "-" && segment != 0:
				return cli.Usagef("--segment %v: makes several files. Give -w the name of a file", segment)
			}
			return run(files, in, segment)
		},
	}
	cli.Group(cmd, "Files", func(flags *pflag.FlagSet) {
		files.Flags(flags)
		flags.StringVarP(&in.iface, "interface", "i", "", "convert packets of this interface only: its `name`, or its number in the file from 0")
		flags.BoolVar(&in.keepFCS, "keep-fcs", false, "keep frame check sequences at the end of frames")
		flags.BoolVar(&in.strict, "strict", false, "end at the first packet that would be left out, has no stamp or contradicts itself")
		flags.VarP(&segment, "segment", "C", "begin a new file after this `size`; 0 writes one file of any size")
	})
	return cmd
}

// input is how inputs are read.
type input struct {
	iface   string // name or number; "": all of Ethernet
	keepFCS bool
	strict  bool
}

func (in input) options() capfile.Options {
	o := capfile.Options{KeepFCS: in.keepFCS, Strict: in.strict}
	if in.iface != "" {
		o.Select = func(i *capfile.Interface) bool { return i.Name == in.iface || strconv.Itoa(i.Number) == in.iface }
	}
	return o
}

// open opens a file and reads its header.
func (in input) open(name string) (io.Closer, error) {
	f, err := cli.Open(name)
	if err != nil {
		return nil, err
	}
	packets, err := convert.NewReader(f, in.options())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
	}
	packets.Close()
	return f, nil
}

// missing returns an error if a file has no interface of the name that was given.
func (in input) missing(list []capfile.Interface) error {
	var names []string
	for _, i := range list {
		if i.Selected {
			return nil
		}
		names = append(names, strings.TrimPrefix(i.String(), "interface "))
	}
	if in.iface == "" {
		return nil
	}
	return fmt.Errorf("no interface %q: the file has %s", in.iface, strings.Join(names[:min(len(names), 20)], ", "))
}

func run(files cli.InOut, in input, segment units.Size) (err error) {
	out := &outputs{files: files}
	if segment != 0 {
		if out.parts, err = cli.EarlierParts(files.Output, files.Inputs, files.Force); err != nil {
			return err
		}
	}
	if err := files.Check(out.parts, in.open); err != nil {
		return err
	}
	whole := false // the outputs, as far as the inputs could be read
	defer func() { err = errors.Join(err, out.end(whole)) }()
	raw, err := rawfile.NewFiles(int64(segment), out.next)
	if err != nil {
		return err
	}
	var bad []error
	var records uint64
	for _, name := range files.Inputs {
		n, err := copyFile(raw, name, in)
		records += n
		bad = append(bad, err)
		if err != nil && !errors.As(err, new(inputError)) {
			return errors.Join(bad...) // an output error, which the other inputs would get, too
		}
		if err != nil && in.strict {
			break
		}
	}
	if err := raw.Close(); err != nil {
		return errors.Join(append(bad, err)...)
	}
	if records == 0 {
		return errors.Join(bad...) // an earlier file of the output's name stays
	}
	err = out.commit()
	whole = err == nil
	return errors.Join(append(bad, err)...)
}

// inputError is an error of an input.
type inputError struct{ error }

func (e inputError) Unwrap() error { return e.error }

// outputs are the files of a conversion, one open at a time.
type outputs struct {
	files   cli.InOut
	parts   *cli.Parts // of an earlier run; nil: one output
	current *cli.Output
	written int // committed
}

// next creates output n.
func (o *outputs) next(n int) (io.WriteCloser, error) {
	one := o.files
	if o.parts != nil {
		one.Output = extract.PartName(one.Output, n)
	}
	if o.current != nil {
		if err := o.commit(); err != nil {
			return nil, err
		}
	}
	var err error
	o.current, err = one.Create()
	return noClose{o.current}, err
}

// commit gives the current output its name.
func (o *outputs) commit() error {
	if err := o.current.Commit(); err != nil {
		return err
	}
	o.written++
	return nil
}

// end removes an output that is not committed, and what follows of an earlier run if this
// one is whole.
func (o *outputs) end(whole bool) (err error) {
	if o.current != nil {
		err = o.current.Close()
	}
	if o.parts == nil {
		return err
	}
	notice, left := o.parts.End(o.written, whole)
	if notice != "" {
		fmt.Fprintf(cli.Stderr, "pcap2raw: %s\n", notice)
	}
	return errors.Join(err, left)
}

// noClose is a writer that outputs closes.
type noClose struct{ io.Writer }

func (noClose) Close() error { return nil }

// isRAW reports whether a file begins with a RAW record.
func isRAW(name string) bool {
	if name == "-" {
		return false
	}
	for _, err := range cli.Records([]string{name}) {
		return err == nil
	}
	return false
}

// copyFile converts a file and returns the number of records.
func copyFile(to *rawfile.Files, name string, options input) (records uint64, err error) {
	in, err := cli.Open(name)
	if err != nil {
		return 0, inputError{err}
	}
	defer in.Close()
	packets, err := convert.NewReader(in, options.options())
	if err != nil {
		if errors.Is(err, capfile.ErrFormat) && isRAW(name) {
			err = errors.New("is a RAW file, not a pcap file. raw2pcap and raw2tstamp read it")
		}
		return 0, inputError{fmt.Errorf("%s: %w", name, err)}
	}
	defer packets.Close()
	for {
		rec, err := packets.Next()
		if err == io.EOF {
			if err = options.missing(packets.Interfaces()); err == nil {
				return records, report(name, packets)
			}
		}
		if err != nil {
			return records, errors.Join(report(name, packets), inputError{fmt.Errorf("%s: %w", name, err)})
		}
		if err := to.Write(rec); err != nil {
			return records, err
		}
		records++
	}
}

// report prints what was changed, and returns an error about what was left out.
func report(name string, packets *convert.Reader) error {
	var bad []error
	for _, c := range packets.Counts() {
		switch {
		case c.Cause == capfile.NotEthernet:
			bad = append(bad, inputError{fmt.Errorf("%s: %v. RAW holds Ethernet frames; --interface selects what is converted", name, c)})
		case c.Cause.LeftOut():
			bad = append(bad, inputError{fmt.Errorf("%s: %v", name, c)})
		default:
			fmt.Fprintf(cli.Stderr, "pcap2raw: warning: %s: %v\n", name, c)
		}
	}
	if n := packets.Moved(); n > 0 {
		fmt.Fprintf(cli.Stderr, "pcap2raw: warning: %s: %s with timestamp 0 written with 1 ns: 0 ends a RAW file\n", name, units.Plural(n, "packet"))
	}
	return errors.Join(bad...)
}
