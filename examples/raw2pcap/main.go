// Raw2pcap converts RAW files to pcap or pcapng with nanosecond timestamps.
package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/archive/rawfile/convert"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

func main() { cli.Main(command()) }

func command() *cobra.Command {
	var files cli.InOut
	var format string
	var strict, crc bool
	cmd := &cobra.Command{
		Use:   "raw2pcap [flags] -w OUT IN...\n  raw2pcap RAW PCAP",
		Short: "Convert RAW files to pcap or pcapng with nanosecond timestamps",
		Long: `Convert RAW files to pcap or pcapng with nanosecond timestamps.

Inputs are written one after the other, in the order given. All whole records of a
truncated input are written, and the exit status is 1. With --strict the first input
with an error ends the conversion. With --force an earlier output is replaced only if
all inputs can be opened.`,
		Example: `  raw2pcap -w all.pcap /data0/*.raw
  raw2pcap -F pcapng -w - capture.raw | tshark -r -`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cli.NotEmpty(cmd); err != nil {
				return err
			}
			hpcap, err := files.Operands(args)
			if err != nil {
				return err
			}
			if hpcap && filepath.Ext(files.Output) == ".raw" {
				return cli.Usagef("no output: %s has the name of an input. Name the output with -w", files.Output)
			}
			if files.Output == "" {
				return cli.Usagef("no output: name it with -w")
			}
			if format == "" {
				format = formatOf(files.Output)
			}
			if err := cli.OneOf("--format", format, string(pcapfile.Pcap), string(pcapfile.Pcapng)); err != nil {
				return err
			}
			return run(files, pcapfile.Format(format), strict, crc)
		},
	}
	cli.Group(cmd, "Files", func(flags *pflag.FlagSet) {
		files.Flags(flags)
		flags.BoolVar(&strict, "strict", false, "end at the first input with an error")
		flags.BoolVar(&crc, "crc", false, "the frames end in their CRC (hpcapdd --crc), which RAW does not say")
		flags.StringVarP(&format, "format", "F", "", "`format` of the output, pcap or pcapng; default: by its name, else pcap")
	})
	return cmd
}

// formatOf is the format that the name of an output has.
func formatOf(output string) string {
	if strings.EqualFold(filepath.Ext(output), ".pcapng") {
		return string(pcapfile.Pcapng)
	}
	return string(pcapfile.Pcap)
}

func run(files cli.InOut, format pcapfile.Format, strict, crc bool) (err error) {
	if err := files.Check(nil, func(name string) (io.Closer, error) { return cli.OpenRAW(name) }); err != nil {
		return err
	}
	out, err := files.Create()
	if err != nil {
		return err
	}
	defer out.Close()
	w, err := convert.NewWriter(out, format, crc)
	if err != nil {
		return err
	}
	var bad []error
	var converted uint64
	for _, name := range files.Inputs {
		n, err := copyFile(w, name)
		converted += n
		bad = append(bad, err)
		if err != nil && !errors.As(err, new(inputError)) {
			return errors.Join(bad...) // an output error, which the other inputs would get, too
		}
		if err != nil && strict {
			break
		}
	}
	if err := w.Flush(); err != nil {
		return errors.Join(append(bad, err)...)
	}
	if err := errors.Join(bad...); err != nil && converted == 0 {
		return err // an earlier file of the output's name stays
	}
	return errors.Join(append(bad, out.Commit())...)
}

// inputError is an error of an input.
type inputError struct{ error }

func (e inputError) Unwrap() error { return e.error }

// copyFile converts a file and returns the number of records.
func copyFile(w *convert.Writer, name string) (uint64, error) {
	in, err := cli.OpenRAW(name)
	if err != nil {
		return 0, inputError{err}
	}
	defer in.Close()
	n, err := w.Copy(in)
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	if errors.As(err, new(*rawfile.Error)) {
		return n, inputError{err}
	}
	return n, err
}
