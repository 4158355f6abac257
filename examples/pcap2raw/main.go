// Pcap2raw converts pcap and pcapng files to RAW files.
package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/archive/rawfile/convert"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

func main() { cli.Main(command()) }

func command() *cobra.Command {
	var files cli.InOut
	var segment units.Size
	cmd := &cobra.Command{
		Use:   "pcap2raw [flags] -w OUT IN...\n  pcap2raw PCAP RAW",
		Short: "Convert pcap and pcapng files to RAW files",
		Long: `Convert pcap and pcapng files to RAW files.

Inputs are written one after the other, in the order given. With --segment the
output is several files of exactly that size, except for the last one: OUT.raw
becomes OUT-000000.raw, OUT-000001.raw and so on.`,
		Example: `  pcap2raw -w all.raw first.pcap second.pcapng
  pcap2raw --segment 2GiB -w all.raw huge.pcap`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cli.NotEmpty(cmd); err != nil {
				return err
			}
			if _, err := files.Operands(args); err != nil {
				return err
			}
			switch {
			case files.Output == "":
				return cli.Usagef("no output: name it with -w")
			case segment != 0 && segment < rawfile.MinSegment:
				return cli.Usagef("--segment %v: must hold the longest record. Choose %v or more", segment, units.Size(rawfile.MinSegment))
			case files.Output == "-" && segment != 0:
				return cli.Usagef("--segment %v: makes several files. Give -w the name of a file", segment)
			}
			return run(files, segment)
		},
	}
	cli.Group(cmd, "Files", func(flags *pflag.FlagSet) {
		files.Flags(flags)
		flags.VarP(&segment, "segment", "C", "begin a new file after this `size`; 0 writes one file of any size")
	})
	return cmd
}

func run(files cli.InOut, segment units.Size) (err error) {
	out := &outputs{files: files, segments: segment != 0}
	defer func() { err = errors.Join(err, out.end()) }()
	raw, err := rawfile.NewFiles(int64(segment), out.next)
	if err != nil {
		return err
	}
	for _, name := range files.Inputs {
		n, e := copyFile(raw, name)
		out.records += n
		if err = e; err != nil {
			break
		}
	}
	return errors.Join(err, raw.Close())
}

// outputs are the files of a conversion, one open at a time.
type outputs struct {
	files    cli.InOut
	segments bool
	current  *cli.Output
	records  uint64
}

// next creates output n.
func (o *outputs) next(n int) (io.WriteCloser, error) {
	one := o.files
	if o.segments {
		ext := filepath.Ext(one.Output)
		one.Output = fmt.Sprintf("%s-%06d%s", strings.TrimSuffix(one.Output, ext), n, ext)
	}
	if o.current != nil {
		if err := o.current.Commit(); err != nil {
			return nil, err
		}
	}
	var err error
	o.current, err = one.Create()
	return noClose{o.current}, err
}

// end commits the last output if it holds a record, else discards it.
func (o *outputs) end() error {
	switch {
	case o.current == nil:
		return nil
	case o.records == 0:
		return o.current.Close()
	}
	return o.current.Commit()
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
func copyFile(to *rawfile.Files, name string) (records uint64, err error) {
	in, err := cli.Open(name)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	packets, err := convert.NewReader(in)
	if err != nil {
		if isRAW(name) {
			err = errors.New("is a RAW file, not a pcap file. raw2pcap and raw2tstamp read it")
		}
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	for {
		rec, err := packets.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return records, fmt.Errorf("%s: %w", name, err)
		}
		if err := to.Write(rec); err != nil {
			return records, err
		}
		records++
	}
	if n := packets.Moved(); n > 0 {
		fmt.Fprintf(cli.Stderr, "pcap2raw: warning: %s: %s with timestamp 0 written with 1 ns: 0 ends a RAW file\n", name, units.Plural(uint64(n), "packet"))
	}
	return records, nil
}
