// Raw2tstamp prints the timestamps of RAW files, a line for each frame: time, length
// on the wire and length stored, in bytes without CRC, separated by tabs.
//
//	raw2tstamp [-since-start] [-w OUT] IN...
//	raw2tstamp RAW OUT
//
// The time is in seconds since 1970 with nine decimals. With -since-start, and in
// the second form, which is HPCAP's, it is in nanoseconds since the second in which
// the first frame came. A second file that ends in .raw is an input.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"

	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

const usage = `usage: raw2tstamp [-since-start] [-w OUT] IN...
       raw2tstamp RAW OUT
"-" is standard input or output.`

func main() { cli.Main("raw2tstamp", run) }

func run(args []string) (err error) {
	flags := flag.NewFlagSet("raw2tstamp", flag.ContinueOnError)
	since := flags.Bool("since-start", false, "print nanoseconds since the second of the first frame, as HPCAP does")
	out := flags.String("w", "", "`file` to write, - for standard output")
	if err := cli.Parse(flags, args, usage); err != nil {
		return err
	}
	inputs := flags.Args()
	switch {
	case len(inputs) == 0:
		return cli.Usagef("no input: name the RAW files")
	case *out == "" && len(inputs) == 2 && !*since && !strings.HasSuffix(inputs[1], ".raw"): // HPCAP's form
		inputs, *out, *since = inputs[:1], inputs[1], true
	case *out == "":
		*out = "-"
	}
	file, err := cli.Create(*out, inputs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := bufio.NewWriterSize(file, 1<<20)
	defer func() { err = errors.Join(err, w.Flush()) }()
	p := printer{since: *since}
	for rec, err := range cli.Records(inputs) {
		if err != nil {
			return err
		}
		if _, err := w.Write(p.line(rec)); err != nil {
			return err
		}
	}
	return nil
}

// printer writes one line after the other into the same memory.
type printer struct {
	since bool
	began bool
	epoch int64 // second of the first frame
	buf   []byte
}

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
