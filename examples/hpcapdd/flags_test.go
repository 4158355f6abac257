package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/daemon/settings"
	"github.com/ixcap/ixcap/capture/dedup"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/examples/internal/cli"
	"github.com/ixcap/ixcap/hugepage"
)

// parse returns the options and settings of a command line. They are nil if run was not
// called.
func parse(args ...string) (o *options, s *settings.Settings, err error) {
	err = cli.Execute(command(func(got options, all *settings.Settings) error {
		o, s = &got, all
		return nil
	}), args...)
	return o, s, err
}

// expected are the options and settings of "-i eth2 -w /data".
func expected() (*options, *settings.Settings, *settings.Port) {
	s := settings.New()
	p := settings.Defaults()
	p.Device, p.Storage.Dirs = "eth2", settings.Dirs{"/data"}
	s.Ports = []settings.Port{p}
	return &options{devices: []string{"eth2"}, filter: cli.None}, s, &s.Ports[0]
}

func rulesOf(t *testing.T, text string) settings.Rules {
	t.Helper()
	var r settings.Rules
	require.NoError(t, r.Set(text))
	return r
}

func TestEachFlagSetsItsSetting(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rules")
	require.NoError(t, os.WriteFile(file, []byte("(udp) 64\n(tcp) drop\n"), 0o600))
	tested := map[string]bool{"config": true, "filter": true} // in tests of their own
	for args, set := range map[string]func(o *options, s *settings.Settings, p *settings.Port){
		"--rss tcp-ports": func(_ *options, _ *settings.Settings, p *settings.Port) {
			require.NoError(t, p.RSS.Set("tcp-ports"))
		},
		"--port-filters (udp)_drop": func(_ *options, _ *settings.Settings, p *settings.Port) {
			require.NoError(t, p.Filters.Set("(udp) drop"))
		},
		"":                       func(*options, *settings.Settings, *settings.Port) {},
		"--queues 4":             func(_ *options, _ *settings.Settings, p *settings.Port) { p.Queues = 4 },
		"--queues 2 --cores 2,3": func(_ *options, _ *settings.Settings, p *settings.Port) { p.Queues, p.Cores = 2, settings.Cores{2, 3} },
		"--fifo 10":              func(_ *options, _ *settings.Settings, p *settings.Port) { p.FIFO = 10 },
		"--sleep":                func(_ *options, _ *settings.Settings, p *settings.Port) { p.Sleep = true },
		"--speed 1000":           func(_ *options, _ *settings.Settings, p *settings.Port) { p.Speed = 1000 },
		"--negotiate":            func(_ *options, _ *settings.Settings, p *settings.Port) { p.Negotiate = true },
		"--outer-vlan 0x88a8":    func(_ *options, _ *settings.Settings, p *settings.Port) { p.OuterVLAN = 0x88a8 },
		"--crc":                  func(_ *options, _ *settings.Settings, p *settings.Port) { p.CRC = true },
		"--bad-frames":           func(_ *options, _ *settings.Settings, p *settings.Port) { p.BadFrames = true },
		"--hardware-clock":       func(_ *options, _ *settings.Settings, p *settings.Port) { p.HardwareClock = true },
		"--any-module":           func(_ *options, _ *settings.Settings, p *settings.Port) { p.AnyModule = true },
		"-B 1GiB":                func(_ *options, _ *settings.Settings, p *settings.Port) { p.Buffer = 1 << 30 },
		"--buffer 64MiB":         func(_ *options, _ *settings.Settings, p *settings.Port) { p.Buffer = 64 << 20 },
		"--pages 1GiB -B 1GiB": func(_ *options, _ *settings.Settings, p *settings.Port) {
			p.Pages.Size, p.Buffer = hugepage.Size1G, 1<<30
		},
		"--zero-copy": func(_ *options, _ *settings.Settings, p *settings.Port) { p.ZeroCopy = true },
		"--zero-copy --chunks 64 --chunk-size 2048": func(_ *options, _ *settings.Settings, p *settings.Port) {
			p.ZeroCopy, p.Chunks, p.ChunkSize = true, 64, 2048
		},
		"-s 96":            func(_ *options, _ *settings.Settings, p *settings.Port) { p.SnapLen = 96 },
		"--snaplen=0":      func(*options, *settings.Settings, *settings.Port) {},
		"--rules (udp)_64": func(_ *options, _ *settings.Settings, p *settings.Port) { p.Rules = rulesOf(t, "(udp) 64") },
		"--rules @" + file: func(_ *options, _ *settings.Settings, p *settings.Port) { p.Rules = rulesOf(t, "(udp) 64; (tcp) drop") },
		"--rules none":     func(*options, *settings.Settings, *settings.Port) {},
		"--dedup":          func(_ *options, _ *settings.Settings, p *settings.Port) { p.Dedup.Config = &dedup.Config{} },
		"--dedup=none":     func(*options, *settings.Settings, *settings.Port) {},
		"--dedup=window=1s": func(_ *options, _ *settings.Settings, p *settings.Port) {
			p.Dedup.Config = &dedup.Config{Window: time.Second}
		},
		"--stamps weighted": func(_ *options, _ *settings.Settings, p *settings.Port) { p.Stamps = clock.Weighted },
		"--stamps sample=8": func(_ *options, _ *settings.Settings, p *settings.Port) { p.Stamps = clock.Sample(8) },
		"-w /more": func(_ *options, _ *settings.Settings, p *settings.Port) {
			p.Storage.Dirs = settings.Dirs{"/data", "/more"}
		},
		"-F pcapng --zstd 3": func(_ *options, _ *settings.Settings, p *settings.Port) {
			p.Storage.Format, p.Storage.Zstd = settings.Pcapng, 3
		},
		"-F raw": func(*options, *settings.Settings, *settings.Port) {},
		"-Fpcap --store-filter=ip": func(_ *options, _ *settings.Settings, p *settings.Port) {
			p.Storage.Format, p.Storage.StoreFilter = settings.Pcap, "ip"
		},
		"-f none":                     func(*options, *settings.Settings, *settings.Port) {},
		"-f none --rules (udp)_64":    func(_ *options, _ *settings.Settings, p *settings.Port) { p.Rules = rulesOf(t, "(udp) 64") },
		"-F pcap --store-filter none": func(_ *options, _ *settings.Settings, p *settings.Port) { p.Storage.Format = settings.Pcap },
		"--queues 4 --queue 3":        func(_ *options, _ *settings.Settings, p *settings.Port) { p.Queues, p.Storage.Queue = 4, 3 },
		"--vfs trust=on,vlan=7 --mirror to=0_uplink": func(_ *options, _ *settings.Settings, p *settings.Port) {
			p.VFs, p.Mirrors = settings.VFs{{Trusted: true}, {VLAN: 7}}, settings.Mirrors{{Uplink: true}}
		},
		"--queue all":   func(*options, *settings.Settings, *settings.Port) {},
		"-C 64MiB":      func(_ *options, _ *settings.Settings, p *settings.Port) { p.Storage.Segment = 64 << 20 },
		"-G 1h":         func(_ *options, _ *settings.Settings, p *settings.Port) { p.Storage.Rotate = units.Duration(time.Hour) },
		"--block 4MiB":  func(_ *options, _ *settings.Settings, p *settings.Port) { p.Storage.Block = 4 << 20 },
		"--in-flight 8": func(_ *options, _ *settings.Settings, p *settings.Port) { p.Storage.InFlight = 8 },
		"--flush 10ms": func(_ *options, _ *settings.Settings, p *settings.Port) {
			p.Storage.Flush = units.Duration(10 * time.Millisecond)
		},
		"--fsync none": func(_ *options, _ *settings.Settings, p *settings.Port) { p.Storage.Fsync = store.SyncNever },
		"--fsync 10s": func(_ *options, _ *settings.Settings, p *settings.Port) {
			p.Storage.Fsync = store.Sync(10 * time.Second)
		},
		"-z /bin/true":     func(_ *options, _ *settings.Settings, p *settings.Port) { p.Storage.Command = "/bin/true" },
		"--no-index":       func(o *options, _ *settings.Settings, p *settings.Port) { o.noIndex, p.Storage.Index = true, false },
		"--keep-size 1TiB": func(_ *options, s *settings.Settings, _ *settings.Port) { s.Retention.Size = 1 << 40 },
		"--keep-age 14d": func(_ *options, s *settings.Settings, _ *settings.Port) {
			s.Retention.Age = units.Duration(14 * 24 * time.Hour)
		},
		"--keep-free 10GiB": func(_ *options, s *settings.Settings, _ *settings.Port) { s.Retention.Free = 10 << 30 },
		"-W 100":            func(_ *options, s *settings.Settings, _ *settings.Port) { s.Retention.Files = 100 },
		"--share /run/x":    func(_ *options, s *settings.Settings, _ *settings.Port) { s.Share.Dir = "/run/x" },
		"--share /run/x --share-mode 0660 --linger 1m": func(_ *options, s *settings.Settings, _ *settings.Port) {
			s.Share = settings.Share{Dir: "/run/x", Mode: 0o660, Linger: units.Duration(time.Minute)}
		},
		"--share /run/x --wait-listeners 2": func(_ *options, s *settings.Settings, _ *settings.Port) {
			s.Share.Dir, s.Share.WaitListeners = "/run/x", 2
		},
		"--metrics :9482":          func(_ *options, s *settings.Settings, _ *settings.Port) { s.Metrics.Listen = ":9482" },
		"--hpcapmon /var/hpcapmon": func(_ *options, s *settings.Settings, _ *settings.Port) { s.Hpcapmon.Dir = "/var/hpcapmon" },
		"--check":                  func(o *options, _ *settings.Settings, _ *settings.Port) { o.check = true },
		"-c 1000":                  func(o *options, _ *settings.Settings, _ *settings.Port) { o.count = 1000 },
		"--count=0":                func(*options, *settings.Settings, *settings.Port) {},
		"--duration 90s": func(o *options, _ *settings.Settings, _ *settings.Port) {
			o.duration = units.Duration(90 * time.Second)
		},
		"--json --progress -v": func(o *options, _ *settings.Settings, _ *settings.Port) {
			o.json, o.progress, o.verbose = true, true, true
		},
		"--fail-on-loss": func(o *options, _ *settings.Settings, _ *settings.Port) { o.failOnLoss = true },
	} {
		wantOptions, want, port := expected()
		set(wantOptions, want, port)
		words := strings.Fields(args)
		for i := range words {
			words[i] = strings.ReplaceAll(words[i], "_", " ")
		}
		var o options
		var s *settings.Settings
		cmd := command(func(got options, all *settings.Settings) error { o, s = got, all; return nil })
		require.NoError(t, cli.Execute(cmd, append([]string{"-i", "eth2", "-w", "/data"}, words...)...), args)
		require.Equal(t, *wantOptions, o, args)
		require.Equal(t, want, s, args)
		cmd.Flags().Visit(func(f *pflag.Flag) { tested[f.Name] = true })
	}
	command(nil).Flags().VisitAll(func(f *pflag.Flag) { require.True(t, tested[f.Name], "--%s is not in the table", f.Name) })
}

func TestFiltersAreRulesThatDropTheRest(t *testing.T) {
	o, s, err := parse("-i", "eth2", "-w", "/data", "-f", "udp and port 53")
	require.NoError(t, err)
	require.Equal(t, "udp and port 53", o.filter)
	require.Equal(t, rulesOf(t, "(udp and port 53) all; drop"), s.Ports[0].Rules)
}

func TestErrorsOfFiltersNameTheColumnOfTheExpression(t *testing.T) {
	_, _, err := parse("-i", "eth2", "-w", "/data", "-f", "prot 53")
	require.ErrorContains(t, err, "--filter: column 1: ")
	require.NotContains(t, err.Error(), "rules")
	_, _, err = parse("-i", "eth2", "-w", "/data", "-f", "ip) all; (udp")
	require.ErrorAs(t, err, new(cli.UsageError))
}

func TestNamesOfFilesAreNoDirectories(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{dir + "/a.pcap", dir + "/a.pcapng", dir + "/a.raw", dir + "/a.pcap.zst"} {
		for _, args := range [][]string{{"-i", "eth2", "-w", name}, {"-i", "eth2", "-w", dir, "-w", name}, {"eth2", "0", name}} {
			_, s, err := parse(args...)
			require.ErrorAs(t, err, new(cli.UsageError), args)
			require.ErrorContains(t, err, "-w writes a directory of files", args)
			require.Nil(t, s)
		}
	}
	made := filepath.Join(dir, "old.raw")
	require.NoError(t, os.Mkdir(made, 0o755))
	_, _, err := parse("-i", "eth2", "-w", made)
	require.NoError(t, err)
}

func TestCommandIsOneProgram(t *testing.T) {
	for _, command := range []string{"nosuch", "gzip -9", "/nosuch"} {
		_, s, err := parse("-i", "eth2", "-w", "/data", "-z", command)
		require.ErrorAs(t, err, new(cli.UsageError), command)
		require.ErrorContains(t, err, "--command: ")
		require.ErrorContains(t, err, ": name one program, without arguments")
		require.Nil(t, s)
	}
}

func TestWrongOptionsOfTheModelAreUsageErrors(t *testing.T) {
	for _, port := range []string{"sim:gen,speed=9", "sim:gen,rate=fast", "sim:", "sim:pidgeon=1", "sim:gen,mac=x", "sim:pcap=/nosuch,sfp=x"} {
		_, s, err := parse("-w", "/data", "-i", port)
		require.ErrorAs(t, err, new(cli.UsageError), port)
		require.ErrorContains(t, err, "--interface "+port+": ")
		require.Nil(t, s)
	}
	_, _, err := parse("-w", "/data", "-i", "sim:pcap=/nosuch")
	require.NoError(t, err, "the capture reports a file that does not exist")
}

func TestPortsThatAreTwiceTheSame(t *testing.T) {
	for _, port := range []string{"sim:pcap=a.pcap,rate=line", "0000:03:00.0", "eth2"} {
		_, _, err := parse("-w", "/data", "-i", port, "-i", port)
		require.ErrorContains(t, err, "--interface: "+port+": ")
	}
}

func TestFlagsMayFollowOperands(t *testing.T) {
	for _, args := range [][]string{
		{"eth2", "0", "/data", "--queues", "2"},
		{"--queues", "2", "eth2", "0", "/data"},
		{"eth2", "--queues=2", "0", "/data"},
	} {
		_, want, port := expected()
		port.Storage.Queue, port.Queues = 0, 2
		_, s, err := parse(args...)
		require.NoError(t, err)
		require.Equal(t, want, s, args)
	}
	_, s, err := parse("eth2", "all", "null")
	require.NoError(t, err)
	_, want, port := expected()
	port.Storage.Dirs = settings.Dirs{"null"}
	require.Equal(t, want, s)
}

func TestOneOfSeveralPortsHasAName(t *testing.T) {
	for _, c := range []struct{ devices, names []string }{
		{[]string{"eth2"}, []string{""}},
		{[]string{"eth2", "eth3"}, []string{"eth2", "eth3"}},
		{[]string{"sim:gen,seed=1", "sim:gen,seed=2"}, nil},
		{[]string{"vfio-user:/run/" + strings.Repeat("a", 90) + ".sock", "vfio-user:/run/" + strings.Repeat("a", 91) + ".sock"}, nil},
	} {
		args := []string{"-w", "/data", "--queues", "2"}
		for _, d := range c.devices {
			args = append(args, "-i", d)
		}
		_, s, err := parse(args...)
		require.NoError(t, err, c.devices)
		require.Len(t, s.Ports, len(c.devices))
		names := map[string]bool{}
		for i, p := range s.Ports {
			require.Equal(t, c.devices[i], p.Device)
			require.Equal(t, 2, p.Queues, "flags are for each port")
			names[p.Name] = true
			if c.names != nil {
				require.Equal(t, c.names[i], p.Name)
			}
		}
		require.Len(t, names, len(c.devices), "names differ: %v", names)
	}
}

func TestEmptyValuesAreRejected(t *testing.T) {
	command(nil).Flags().VisitAll(func(f *pflag.Flag) {
		_, s, err := parse("-i", "eth2", "-w", "/data", "--"+f.Name+"=")
		require.ErrorAs(t, err, new(cli.UsageError), f.Name)
		require.Nil(t, s, f.Name)
		require.ErrorContains(t, err, "--"+f.Name)
	})
	for _, args := range [][]string{
		{"-i", "", "-w", "/data"}, {"-i", "eth2", "-w", ""}, {"", "0", "/data"}, {"eth2", "", "/data"}, {"eth2", "0", ""},
		{"-i", "eth2", "-w", "/data", ""}, {"--config", ""},
	} {
		_, s, err := parse(args...)
		require.ErrorAs(t, err, new(cli.UsageError), "%q", args)
		require.Nil(t, s, "%q", args)
	}
}

func TestErrorsNameTheFlag(t *testing.T) {
	flags := command(nil).Flags()
	for args, want := range map[string]string{
		"--queues 17":                          "--queues: 17",
		"--queues -1":                          "--queues: -1",
		"--queues two":                         "--queues",
		"--cores 1,1 --queues 2":               "--cores: core 1",
		"--queues 3 --cores 0,1":               "--cores: 2 for 3",
		"--cores x":                            "--cores",
		"--fifo 100":                           "--fifo: 100",
		"--speed 2500":                         "--speed: 2500",
		"-B 3MiB":                              "--buffer: ",
		"-B 1X":                                "--buffer",
		"--pages 3MiB":                         "--pages",
		"-s 70000":                             "--snaplen: 70000",
		"-f port":                              "--filter: ",
		"--rules (port":                        "--rules",
		"--rules @/nosuch":                     "--rules",
		"-f ip --rules none":                   "", // no rules
		"-f ip --rules 64":                     "--filter and --rules",
		"--dedup=windows=1s":                   "--dedup",
		"--dedup window=1s":                    `unexpected operand "window=1s"`,
		"--stamps lunar":                       "--stamps",
		"-i eth2":                              "--interface: eth2",
		"-w /data":                             "--write: folder /data is listed twice",
		"-w null":                              "--write: \"null\"",
		"-F doc":                               "--format",
		"-F pcap --zstd 23":                    "--zstd: ",
		"--zstd 3":                             "--zstd: ",
		"--store-filter udp":                   "--store-filter: ",
		"-F pcap --store-filter port":          "--store-filter: ",
		"--queue 1":                            "", // an interface's queues are known once it is open
		"--queues 2 --queue 2":                 "--queue: 2",
		"-C 1500kB":                            "--segment: ",
		"-C 0":                                 "--segment: ",
		"-G 1ms":                               "--rotate: ",
		"--block 3kB":                          "--block: ",
		"--block 512KiB":                       "--block: ",
		"--in-flight 0":                        "--in-flight: ",
		"--flush 1us":                          "--flush: ",
		"--fsync never":                        "--fsync",
		"--keep-size 1MiB":                     "--keep-size: ",
		"--keep-age 1ms":                       "--keep-age: ",
		"--keep-files -1":                      "--keep-files: ",
		"--keep-free lots":                     "--keep-free",
		"--share-mode 0660":                    "--share-mode: goes with --share",
		"--share /x --share-mode rw":           "--share-mode",
		"--wait-listeners 1":                   "--wait-listeners: goes with --share",
		"--share /x --wait-listeners 64":       "--wait-listeners: 64: must be 0 to 63",
		"--linger -1s":                         "--linger",
		"--metrics 9482":                       "--metrics: ",
		"-c -1":                                "--count",
		"--duration soon":                      "--duration",
		"--json=maybe":                         "--json",
		"--share /" + strings.Repeat("x", 100): "--share: ",
		"more":                                 `unexpected operand "more"`,
		"tcp port 80":                          `unexpected operand "tcp". Write a filter behind -f`,
		"-f tcp -f udp":                        "--filter: the flag is given twice",
		"-s 1k":                                `--snaplen "1k": must be a number`,
		"--keep-files=":                        `--keep-files "": must be a number`,
		"-c 1k":                                `--count "1k": must be a number from 0`,
		"-interface eth3":                      "Did you mean --interface?",
		"--device eth3":                        "Did you mean --interface?",
		"--dir /x":                             "Did you mean --write?",
		"--caplen 96":                          "Did you mean --snaplen?",
	} {
		_, s, err := parse(append([]string{"-i", "eth2", "-w", "/data"}, strings.Fields(args)...)...)
		if want == "" {
			require.NoError(t, err, args)
			continue
		}
		require.ErrorAs(t, err, new(cli.UsageError), args)
		require.ErrorContains(t, err, want, args)
		require.Nil(t, s, args)
		for _, line := range cli.Lines(err) {
			if name, ok := strings.CutPrefix(line, "--"); ok {
				name, _, _ = strings.Cut(name, ":")
				name, _, _ = strings.Cut(name, " ")
				require.NotNil(t, flags.Lookup(name), "%s: there is no flag --%s", line, name)
			}
		}
	}
	for _, keep := range []string{"--keep-size=1TiB", "--keep-age=1d", "--keep-files=9", "--keep-free=1GiB"} {
		_, _, err := parse("-i", "eth2", "-w", "null", keep)
		name, _, _ := strings.Cut(keep, "=")
		require.ErrorAs(t, err, new(cli.UsageError))
		require.ErrorContains(t, err, name+": ", "without files there is nothing to delete")
	}
	_, _, err := parse("-w", "/data")
	require.ErrorContains(t, err, "no port: name it with -i")
	_, _, err = parse("-i", "eth2")
	require.ErrorContains(t, err, "no directory: name it with -w")
	_, _, err = parse()
	require.ErrorAs(t, err, new(cli.UsageError))
	_, _, err = parse("eth2", "x", "/data")
	require.ErrorContains(t, err, `queue "x"`)
	_, _, err = parse("-i", "eth2", "-w", "/data", "--queues", "99", "-s", "-1", "--block", "3kB")
	require.Len(t, cli.Lines(err), 3, "all errors at once")
}

func TestUnknownFlagsNameTheFlagThatIsMeant(t *testing.T) {
	for args, want := range map[string]string{
		"--snapleng 96":  "--snaplen",
		"--keepage 7d":   "--keep-age",
		"--buffers 1GiB": "--buffer",
		"-rotate 1h":     "--rotate",
		"--stats":        "unknown flag: --stats",
		"--zzzzzzzzzz":   "unknown flag: --zzzzzzzzzz",
		"-Q":             "unknown shorthand flag: 'Q'",
	} {
		_, s, err := parse(append([]string{"-i", "eth2", "-w", "/data"}, strings.Fields(args)...)...)
		require.ErrorAs(t, err, new(cli.UsageError), args)
		require.ErrorContains(t, err, want, args)
		require.Nil(t, s)
	}
}

func TestConfigGoesWithFlagsOfTheRunOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ixcap.toml")
	require.NoError(t, os.WriteFile(file, []byte("[port.one]\ndevice = \"eth2\"\nstorage.dirs = \"/data\"\n"), 0o600))
	values := map[string]string{ // of flags without a default that is valid
		"interface": "eth3", "write": "/more", "cores": "1", "pages": "2MiB", "filter": "ip", "rules": "64",
		"store-filter": "ip", "share": "/run/x", "metrics": ":1", "hpcapmon": "/x", "command": "/bin/true", "duration": "1s", "dedup": "true",
	}
	command(nil).Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name == "config" {
			return
		}
		value, ok := values[f.Name]
		if !ok {
			value = f.DefValue
		}
		o, s, err := parse("--config", file, "--"+f.Name+"="+value)
		switch f.Name {
		case "check", "count", "duration", "json", "progress", "verbose", "fail-on-loss":
			require.NoError(t, err, f.Name)
			require.Equal(t, file, o.config)
			require.Equal(t, file, s.File())
			require.Len(t, s.Ports, 1)
			require.Equal(t, "one", s.Ports[0].Name)
		default:
			require.ErrorAs(t, err, new(cli.UsageError), f.Name)
			require.ErrorContains(t, err, "--"+f.Name+": does not go with --config")
			require.Nil(t, s)
		}
	})
	_, _, err := parse("--config", file, "eth2", "0", "/data")
	require.ErrorContains(t, err, `unexpected operand "eth2"`)
	_, _, err = parse("--config", filepath.Join(filepath.Dir(file), "none.toml"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.False(t, errors.As(err, new(cli.UsageError)), "a missing file is no usage error")
}

func TestPipeTakesThePlaceOfDirectories(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	for _, name := range []string{"-", fifo, "/dev/stdout", "/dev/fd/3"} {
		o, s, err := parse("-i", "eth2", "-w", name)
		require.NoError(t, err)
		require.Equal(t, name, o.output)
		require.Equal(t, pcapfile.Pcap, o.outputFormat)
		require.False(t, s.Ports[0].Stores())
	}
	o, _, err := parse("-i", "eth2", "-i", "eth3", "-w", "-", "-F", "pcapng", "-s", "96", "-f", "udp", "--queues", "2", "--queue", "1")
	require.NoError(t, err)
	require.Equal(t, pcapfile.Pcapng, o.outputFormat)
	for want, args := range map[string][]string{
		"packets go there alone":                {"-w", "/data"},
		"-w -: packets go there alone":          {"-w", fifo},
		"--format raw: is for files":            {"-F", "raw"},
		"--zstd: is for files, and -w - writes": {"-F", "pcap", "--zstd", "3"},
		"--rotate: is for files":                {"-G", "1h"},
		"--keep-age: is for files":              {"--keep-age", "1d"},
	} {
		_, s, err := parse(append([]string{"-i", "eth2", "-w", "-"}, args...)...)
		require.ErrorAs(t, err, new(cli.UsageError))
		require.ErrorContains(t, err, want)
		require.Nil(t, s)
	}
	for _, name := range filesOnly {
		require.NotNil(t, command(nil).Flags().Lookup(name), name)
	}
	_, _, err = parse("-i", "eth2", "-w", filepath.Join(dir, "x.pcap"))
	require.ErrorContains(t, err, "For one pcap file: hpcapdd -w - > "+dir+"/x.pcap")
}
