package main

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

// parse returns the options of a query's command line, or what a command for files does.
// Both are nil if neither was called.
func parse(args ...string) (o *options, m *maintenance, err error) {
	err = cli.Execute(command(
		func(_ context.Context, got options) error { o = &got; return nil },
		func(got maintenance, _ io.Writer) error { m = &got; return nil },
	), args...)
	return o, m, err
}

func TestFlagsOfAQuery(t *testing.T) {
	tested := map[string]bool{}
	for args, set := range map[string]func(o *options){
		"":                       func(*options) {},
		"-r /more":               func(o *options) { o.dirs = []string{"/data", "/more"} },
		"--share /run/a":         func(o *options) { o.shares = []string{"/run/a"} },
		"--from @1000":           func(o *options) { o.request.From = time.Unix(1000, 0) },
		"--to @2000.5":           func(o *options) { o.request.To = time.Unix(2000, 5e8) },
		"--from @9 --to +1m":     func(o *options) { o.request.From, o.request.To = time.Unix(9, 0), time.Unix(69, 0) },
		"--port eth2":            func(o *options) { o.request.Port = "eth2" },
		"--queue 3":              func(o *options) { o.request.Queue = 3 },
		"--queue -1":             func(*options) {},
		"-f none":                func(*options) {},
		"--from none --to none":  func(*options) {},
		"-c 10":                  func(o *options) { o.count = 10 },
		"-s 64":                  func(o *options) { o.snap = 64 },
		"--input-format raw":     func(o *options) { o.request.Format = "raw" },
		"-w a.pcap -C 1MiB":      func(o *options) { o.out, o.segment = "a.pcap", 1<<20 },
		"-w a.pcap -G 1m":        func(o *options) { o.out, o.rotate = "a.pcap", units.Duration(time.Minute) },
		"-w a.pcap --split 9":    func(o *options) { o.out, o.split = "a.pcap", split{packets: 9} },
		"-w a.pcap --split file": func(o *options) { o.out, o.split = "a.pcap", split{files: true} },
		"-F pcapng":              func(o *options) { o.format = pcapfile.Pcapng },
		"-w x.pcapng":            func(o *options) { o.out, o.format = "x.pcapng", pcapfile.Pcapng },
		"-w x -F pcap":           func(o *options) { o.out = "x" },
		"--follow":               func(o *options) { o.request.Follow = true },
		"--force --stats":        func(o *options) { o.force, o.stats = true, true },
		"--io low":               func(o *options) { o.io = low },
		"--io normal":            func(o *options) { o.io = normal },
	} {
		want := options{dirs: []string{"/data"}, out: "-", format: pcapfile.Pcap, io: idle}
		want.request.Queue = capture.AllQueues
		zone, err := units.LocalZone()
		require.NoError(t, err)
		want.zone = zone
		set(&want)
		var o options
		cmd := command(func(_ context.Context, got options) error { o = got; return nil }, nil)
		if !strings.Contains(args, "-w ") {
			args += " -w -"
		}
		require.NoError(t, cli.Execute(cmd, append([]string{"-r", "/data"}, strings.Fields(args)...)...), args)
		require.True(t, want.request.From.Equal(o.request.From) && want.request.To.Equal(o.request.To), args)
		want.request.From, want.request.To = o.request.From, o.request.To // of another location
		require.Equal(t, want, o, args)
		cmd.Flags().Visit(func(f *pflag.Flag) { tested[f.Name] = true })
	}
	o, _, err := parse("-r", "/data", "-w", "-", "-f", "udp and port 53")
	require.NoError(t, err)
	require.NotNil(t, o.request.Filter)
	tested["filter"] = true
	command(nil, nil).Flags().VisitAll(func(f *pflag.Flag) { require.True(t, tested[f.Name], "--%s is not tested", f.Name) })
}

func TestCommandsForFiles(t *testing.T) {
	for args, want := range map[string]maintenance{
		"verify /data":           {what: "verify", paths: []string{"/data"}},
		"verify /a /b --json":    {what: "verify", asJSON: true, paths: []string{"/a", "/b"}},
		"repair -n /a":           {what: "repair", dry: true, paths: []string{"/a"}},
		"repair /a --dry-run":    {what: "repair", dry: true, paths: []string{"/a"}},
		"repair --json /a":       {what: "repair", asJSON: true, paths: []string{"/a"}},
		"info /a/x.raw /a/y.raw": {what: "info", paths: []string{"/a/x.raw", "/a/y.raw"}},
	} {
		_, m, err := parse(strings.Fields(args)...)
		require.NoError(t, err, args)
		want.short = m.short
		require.Equal(t, &want, m, args)
	}
}

func TestInvalidCommandLinesAreRejected(t *testing.T) {
	for args, want := range map[string]string{
		"-w -":                                         "no directory: name the one with the stored files with -r",
		"-r /data":                                     "no output: name it with -w",
		"-r /data -w -.gz":                             "must end in .pcap or .pcapng",
		"-r /data -w foo.":                             "output foo.: is no name of a file",
		"-r /data -w . -F pcap --split file":           "output .: is no name of a file",
		"-r /data -w dir/ -F pcap":                     "output dir/: is no name of a file",
		"-r /data/a.pcap -w /data/X.raw -F pcap":       "is the name of a stored file",
		"-r /data -w x.raw.part -F pcap":               "is the name of a stored file",
		"-r /data -w x.pcap.gz -F pcap":                "append | gzip > x.pcap.gz",
		"-r /data -w - -F doc":                         "pcap",
		"-r /data -w - -f port":                        "--filter: column 5: ",
		"-r /data -w - --from lately":                  "--from: time \"lately\": ",
		"-r /data -w - --to +5m":                       "--to: time \"+5m\": ",
		"-r /data -w - --from @9 --to @8":              "--to: time \"@8\": the window is empty",
		"-r /data -w - --from 1800":                    "--from: time \"1800\": the number has several",
		"-r /data -w - --queue -2":                     "--queue -2: ",
		"-r /data -w - --queue all":                    "--queue",
		"-r /data -w - -s -1":                          "--snaplen -1: ",
		"-r /data -w - -c -1":                          "--count",
		"-r /data -w - -C 1M":                          "standard output is one file",
		"-r /data -w - --split file":                   "standard output is one file",
		"-r /data -w x.pcap --split 0":                 "must be a number of packets, or file",
		"-r /data -w x.pcap -G 1ms":                    "--rotate: ",
		"-r /data -w x.pcap --split file --follow":     "--split file: ",
		"-r /data -w x.pcap --split file --share /run": "--split file: ",
		"-r /data -w - --input-format cap":             "--input-format",
		"-r /data -w - --io high":                      "must be idle, low or normal",
		"-r /data -w - --stat":                         "Did you mean --stats",
		"-r /data -w - --snaplength 9":                 "unknown flag: --snaplength",
		"-r /data -w - -n":                             "unknown shorthand flag: 'n'",
		"-r /data -w - more":                           `unknown command "more"`,
		"-r /data -w - port 53":                        `unknown command "port". Write a filter behind -f, in quotes: -f 'tcp port 80'`,
		"-w - -r a.raw b.raw":                          `unknown command "b.raw". Write -r before each file and directory: -r A -r B`,
		"-r /data -w - -f ip -f udp":                   "--filter: the flag is given twice",
		"-count 3 -r /data -w -":                       "Did you mean --count?",
		"verfy /data":                                  "Did you mean verify?",
		"verify":                                       "verify: no files",
		"repair -n":                                    "repair: no files",
		"info /data -n":                                "unknown shorthand flag: 'n'",
		"verify /data --dry-run":                       "unknown flag: --dry-run",
	} {
		o, m, err := parse(strings.Fields(args)...)
		require.ErrorAs(t, err, new(cli.UsageError), args)
		require.ErrorContains(t, err, want, args)
		require.Nil(t, o, args)
		require.Nil(t, m, args)
	}
}

func TestEmptyValuesAreRejected(t *testing.T) {
	command(nil, nil).Flags().VisitAll(func(f *pflag.Flag) {
		o, _, err := parse("-r", "/data", "-w", "-", "--"+f.Name+"=")
		require.ErrorAs(t, err, new(cli.UsageError), f.Name)
		require.Nil(t, o, f.Name)
		require.ErrorContains(t, err, "--"+f.Name)
	})
	for _, m := range maintenances {
		_, ran, err := parse(m.what, "")
		require.ErrorAs(t, err, new(cli.UsageError), m.what)
		require.Nil(t, ran)
	}
}
