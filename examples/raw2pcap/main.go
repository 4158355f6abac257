// Raw2pcap converts RAW files to pcap or pcapng with nanosecond timestamps.
//
//	raw2pcap [-format pcap|pcapng] -w OUT IN...
//	raw2pcap RAW PCAP
//
// Several inputs are written one after the other, in the order given. Of an input
// that is cut everything whole is written, and the exit status is not zero.
package main

import (
	"errors"
	"flag"
	"fmt"

	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/archive/rawfile/convert"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

const usage = `usage: raw2pcap [-format pcap|pcapng] -w OUT IN...
       raw2pcap RAW PCAP
"-" is standard input or output.`

func main() { cli.Main("raw2pcap", run) }

func run(args []string) (err error) {
	flags := flag.NewFlagSet("raw2pcap", flag.ContinueOnError)
	format := flags.String("format", "pcap", "`format` of the output: pcap or pcapng, both with nanoseconds")
	out := flags.String("w", "", "`file` to write, - for standard output")
	if err := cli.Parse(flags, args, usage); err != nil {
		return err
	}
	inputs := flags.Args()
	if *out == "" && len(inputs) == 2 { // HPCAP's form
		inputs, *out = inputs[:1], inputs[1]
	}
	switch {
	case *out == "":
		return cli.Usagef("no output: name it with -w")
	case len(inputs) == 0:
		return cli.Usagef("no input: name the RAW files to convert")
	case *format != string(convert.Pcap) && *format != string(convert.Pcapng):
		return cli.Usagef("format %q: must be pcap or pcapng", *format)
	}

	file, err := cli.Create(*out, inputs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w, err := convert.NewWriter(file, convert.Format(*format))
	if err != nil {
		return err
	}
	var bad []error
	for _, name := range inputs {
		err := copyFile(w, name)
		bad = append(bad, err)
		if err != nil && !errors.As(err, new(inputError)) {
			return errors.Join(bad...) // the output's fault; a bad input does not keep the next from being converted
		}
	}
	return errors.Join(append(bad, w.Flush())...)
}

// inputError is an error of an input, and not of the output.
type inputError struct{ error }

func (e inputError) Unwrap() error { return e.error }

func copyFile(w *convert.Writer, name string) error {
	in, err := cli.Open(name)
	if err != nil {
		return inputError{err}
	}
	defer in.Close()
	if _, err = w.Copy(in); err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	if errors.As(err, new(*rawfile.Error)) {
		return inputError{err}
	}
	return err
}
