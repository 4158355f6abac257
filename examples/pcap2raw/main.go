// Pcap2raw converts pcap and pcapng files to RAW files.
//
//	pcap2raw [-segment SIZE] -w OUT IN...
//	pcap2raw PCAP RAW
//
// Several inputs are written one after the other, in the order given. With
// -segment the output is several files of exactly that size, the last one
// excepted: OUT.raw becomes OUT-000000.raw, OUT-000001.raw and so on.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/archive/rawfile/convert"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

const usage = `usage: pcap2raw [-segment SIZE] -w OUT IN...
       pcap2raw PCAP RAW
"-" is standard input or output.`

func main() { cli.Main("pcap2raw", run) }

func run(args []string) error {
	flags := flag.NewFlagSet("pcap2raw", flag.ContinueOnError)
	var segment units.Size
	flags.Var(&segment, "segment", "`size` of each file, such as 2GiB; 0: one file of any size")
	out := flags.String("w", "", "`file` to write, - for standard output")
	if err := cli.Parse(flags, args, usage); err != nil {
		return err
	}
	inputs := flags.Args()
	if *out == "" && len(inputs) == 2 {
		inputs, *out = inputs[:1], inputs[1]
	}
	switch {
	case *out == "":
		return cli.Usagef("no output: name it with -w")
	case len(inputs) == 0:
		return cli.Usagef("no input: name the pcap files to convert")
	case segment != 0 && segment < rawfile.MinSegment:
		return cli.Usagef("segment of %v: a file must hold the longest record, so at least %d bytes", segment, rawfile.MinSegment)
	case *out == "-" && segment != 0:
		return cli.Usagef("-segment makes several files: give -w a file's name")
	}
	files, err := rawfile.NewFiles(int64(segment), func(n int) (io.WriteCloser, error) {
		if segment == 0 {
			return cli.Create(*out, inputs)
		}
		ext := filepath.Ext(*out)
		return cli.Create(fmt.Sprintf("%s-%06d%s", strings.TrimSuffix(*out, ext), n, ext), inputs)
	})
	if err != nil {
		return err
	}
	for _, name := range inputs {
		if err = copyFile(files, name); err != nil {
			break
		}
	}
	return errors.Join(err, files.Close())
}

func copyFile(to *rawfile.Files, name string) error {
	in, err := cli.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	packets, err := convert.NewReader(in)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for {
		rec, err := packets.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := to.Write(rec); err != nil {
			return err
		}
	}
	if n := packets.Moved(); n > 0 {
		fmt.Fprintf(os.Stderr, "pcap2raw: %s: %d packets stamped 0 were given the first nanosecond of 1970\n", name, n)
	}
	return nil
}
