// Raw2tstamp prints the timestamps of RAW files.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

func main() { cli.Main(command()) }

func command() *cobra.Command {
	files := cli.InOut{Text: true}
	var since, strict bool
	cmd := &cobra.Command{
		Use:   "raw2tstamp [flags] [-w OUT] IN...\n  raw2tstamp RAW OUT",
		Short: "Print the timestamps of RAW files",
		Long: `Print the timestamps of RAW files, a line for each frame: time, length on the wire
and length stored, in bytes without CRC, separated by tabs.

The time is in seconds since 1970 with nine decimals. With --since-start, and in the
second form, which is HPCAP's, it is in nanoseconds since the second of the first
frame. A second operand that ends in .raw is an input.

An input with an error does not end the output of the others, and the exit status is
1. With --strict it does.`,
		Example: `  raw2tstamp capture.raw | head
  raw2tstamp --since-start -w stamps.txt /data0/*.raw`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cli.NotEmpty(cmd); err != nil {
				return err
			}
			if len(args) == 2 && (strings.HasSuffix(args[1], ".raw") || since) {
				files.Inputs, args = append(files.Inputs, args...), nil
			}
			hpcap, err := files.Operands(args)
			if err != nil {
				return err
			}
			since = since || hpcap
			if files.Output == "" {
				files.Output = "-"
			}
			return run(files, since, strict)
		},
	}
	cli.Group(cmd, "Files", func(flags *pflag.FlagSet) {
		files.Flags(flags)
		flags.BoolVar(&strict, "strict", false, "end at the first input with an error")
		flags.BoolVar(&since, "since-start", false, "print nanoseconds since the second of the first frame")
	})
	return cmd
}

func run(files cli.InOut, since, strict bool) (err error) {
	if err := files.Check(nil, func(name string) (io.Closer, error) { return cli.OpenRAW(name) }); err != nil {
		return err
	}
	out, err := files.Create()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	w := bufio.NewWriterSize(out, 1<<20)
	p := printer{since: since}
	var bad []error
	for rec, err := range cli.Records(files.Inputs) {
		if err != nil {
			if bad = append(bad, err); strict {
				break
			}
			continue
		}
		if _, err := w.Write(p.line(rec)); err != nil {
			return errors.Join(append(bad, err)...)
		}
	}
	if bad != nil && !p.began { // an earlier file of the output's name stays
		return errors.Join(bad...)
	}
	if err := w.Flush(); err != nil {
		return errors.Join(append(bad, err)...)
	}
	return errors.Join(append(bad, out.Commit())...)
}

// printer formats lines in one buffer.
type printer struct {
	since bool
	began bool
	epoch int64 // second of the first frame
	buf   []byte
}

// line returns the line of a record, valid until the next call.
func (p *printer) line(rec rawfile.Record) []byte {
	b := p.buf[:0]
	if !p.began {
		p.began, p.epoch = true, int64(rec.Sec)
	}
	if p.since {
		b = strconv.AppendInt(b, (int64(rec.Sec)-p.epoch)*1e9+int64(rec.Nsec), 10)
	} else {
		b = fmt.Appendf(b, "%d.%09d", rec.Sec, rec.Nsec)
	}
	b = append(b, '\t')
	b = strconv.AppendInt(b, int64(rec.Len), 10)
	b = append(b, '\t')
	b = strconv.AppendInt(b, int64(len(rec.Data)), 10)
	p.buf = append(b, '\n')
	return p.buf
}
