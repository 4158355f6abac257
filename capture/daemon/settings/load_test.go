package settings_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/daemon/settings"
	"github.com/ixcap/ixcap/hugepage"
)

const example = "../../../examples/systemd/ixcap.toml"

// good is the smallest valid file.
const good = `
[port.a]
device = "sim:gen"
storage.dirs = "null"
`

func TestExampleIsValidAndShowsEveryKey(t *testing.T) {
	s, err := settings.Load(example)
	require.NoError(t, err)
	require.Len(t, s.Ports, 2)
	p := s.Ports[0]
	require.Equal(t, "hpcap0", p.Name)
	require.Equal(t, 2, p.Queues)
	require.EqualValues(t, []int{2, 3}, p.Cores)
	require.EqualValues(t, 1<<30, p.Buffer)
	require.Equal(t, hugepage.Size2M, p.Pages.Size)
	require.Equal(t, "(udp and port 53) all; (vlan 12) drop; all", p.Rules.Rules.String())
	require.EqualValues(t, []string{"/data0", "/data1"}, p.Storage.Dirs)
	require.EqualValues(t, 2<<30, p.Storage.Segment, "a port's own [storage] replaces only what it names")
	require.Equal(t, time.Hour, p.Storage.Rotate.Duration())
	require.Equal(t, settings.Kernel, s.Ports[1].Mode)
	require.Equal(t, 14*24*time.Hour, s.Retention.Age.Duration())
	require.EqualValues(t, 0o660, s.Share.Mode)

	text, err := os.ReadFile(example)
	require.NoError(t, err)
	for _, of := range []any{settings.Port{}, settings.Storage{}, settings.Retention{}, settings.Share{}, settings.Metrics{}, settings.Hpcapmon{}} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(of)) {
			if key := f.Tag.Get("toml"); key != "" && key != "storage" {
				require.Regexp(t, `(?m)^(# )?`+key+` *= `, string(text), "the example lacks a key")
				require.Equal(t, f.Tag.Get("live") == "yes", strings.Contains(lineOf(string(text), key), "[live"), "%s: the mark [live] must agree with the tag", key)
			}
		}
	}
}

// lineOf is the line of a key, or the end of its value.
func lineOf(text, key string) string {
	for part := range strings.SplitSeq(strings.ReplaceAll(text, "\"\"\"\n(", "("), "\n") {
		if strings.HasPrefix(strings.TrimPrefix(part, "# "), key+" ") && key != "rules" {
			return part
		}
	}
	_, behind, _ := strings.Cut(text, "\n\"\"\"")
	line, _, _ := strings.Cut(behind, "\n")
	return line
}

func TestDefaultsHoldWhereAFileSetsNothing(t *testing.T) {
	s, err := settings.Parse("f", good)
	require.NoError(t, err)
	want := settings.Defaults()
	want.Name, want.Device, want.Storage.Dirs = "a", "sim:gen", settings.Dirs{"null"}
	require.Equal(t, []settings.Port{want}, s.Ports)
	require.False(t, want.Stores())
	require.Equal(t, 5*time.Second, s.Share.Linger.Duration())
	require.Empty(t, s.Metrics.Listen)
	require.False(t, s.Retention.Any())
}

func TestPortsAreInTheOrderOfTheFile(t *testing.T) {
	s, err := settings.Parse("f", `
[port.z]
device = "sim:gen"
[port.b]
device = "sim:gen,x"
[port.m.storage]
segment = "1MiB"
[port.m]
device = "sim:gen,y"
stamps = "sample=4"
dedup = true
[storage]
dirs = ["/x"]
[defaults]
snaplen = 60
`)
	require.NoError(t, err)
	var names []string
	for _, p := range s.Ports {
		names = append(names, p.Name)
		require.Equal(t, 60, p.SnapLen)
		require.True(t, p.Stores())
	}
	require.Equal(t, []string{"z", "b", "m"}, names)
	require.Equal(t, clock.Sample(4), s.Ports[2].Stamps)
	require.NotNil(t, s.Ports[2].Dedup.Config)
	require.EqualValues(t, 1<<20, s.Ports[2].Storage.Segment)
	require.EqualValues(t, 2<<30, s.Ports[0].Storage.Segment)
}

func TestEveryMistakeIsReportedWithItsLineAtOnce(t *testing.T) {
	_, err := settings.Parse("ixcap.toml", `[port.a]
device = "sim:gen"
bufer = "1GiB"
queues = 17
snaplen = "sixty"

[storage]
dirs = ["/x", "/x/"]
segment = "1500kB"

[port.b]
mode = "kernal"
speed = 40000
cores = [1, 1]

[retnetion]
size = "1TiB"

[metrics]
listen = 9482
`)
	require.Error(t, err)
	want := []string{
		`ixcap.toml:3: port.a.bufer: unknown key: did you mean buffer?`,
		`ixcap.toml:4: port.a.queues: 17: must be 1 to 16, the receive queues of the 82599: its RSS spreads frames over 16, and a further queue, with its thread and buffer, would get only what a filter names`,
		`ixcap.toml:5: port.a.snaplen: "sixty": must be a number without quotes`,
		`ixcap.toml:8: storage.dirs: folder /x/ is listed twice`,
		`ixcap.toml:9: storage.segment: segment of 1500000 bytes: choose a multiple of 1 MiB`,
		`ixcap.toml:11: port.b.device: no device: set the port's address or interface, as in device = "0000:03:00.0"`,
		`ixcap.toml:12: port.b.mode: "kernal": must be capture, or kernel for a port that is left to the kernel's driver`,
		`ixcap.toml:13: port.b.speed: 40000: must be one of [10000 1000] Mb/s, or 0 for the module's fastest`,
		`ixcap.toml:14: port.b.cores: 2 for 1: list one core for each queue`,
		`ixcap.toml:14: port.b.cores: core 1 is listed twice: each poller needs a core of its own`,
		`ixcap.toml:16: retnetion: unknown table: did you mean retention?`,
		`ixcap.toml:20: metrics.listen: 9482: must be text in quotes`,
	}
	require.Equal(t, want, strings.Split(err.Error(), "\n"))
}

func TestInheritedMistakeIsReportedOnce(t *testing.T) {
	_, err := settings.Parse("f", `[defaults]
buffer = "3MiB"
[port.a]
device = "sim:gen"
[port.b]
device = "sim:gen,x"
[storage]
dirs = "null"
`)
	require.EqualError(t, err, "f:2: defaults.buffer: buffer of 3145728 bytes: choose a power of two of at least 1 MiB")
}

func TestBadValuesSayWhatToDo(t *testing.T) {
	port := func(lines string) string {
		return "[port.a]\ndevice = \"sim:gen\"\n" + lines + "\n[storage]\ndirs = \"/x\""
	}
	shared := func(table string) string { return good + table }
	for text, want := range map[string]string{
		"":                                                   `f: port: no port: add a table such as [port.hpcap0]`,
		"port = 3":                                           `f:1: port: not a table: write [port]`,
		"[port.a]\ndevice = ":                                `f:2: `,
		"[[port]]\ndevice = \"x\"":                           `f:1: port: not a table`,
		"[port.\"a b\"]\ndevice = \"x\"":                     `f:1: port.a b: name "a b": must be at most 48 letters`,
		port("queues = 17"):                                  `f:3: port.a.queues: 17: must be 1 to 16`,
		port("queues = 2\ncores = [1]"):                      `f:4: port.a.cores: 1 for 2: list one core for each queue`,
		port("cores = [-1]"):                                 `f:3: port.a.cores: core "-1": must be a list of numbers from 0`,
		port("snaplen = 70000"):                              `f:3: port.a.snaplen: 70000: must be 1 to`,
		port("buffer = \"1GiB \"\nx=1"):                      `f:4: port.a.x: unknown key: must be one of any_module, bad_frames, buffer, chunk_size, chunks, cores, crc, dedup, device`,
		port("buffer = \"1MiB\""):                            `f:3: port.a.buffer: 1MiB: must be at least 2MiB`,
		port("buffer = 3"):                                   `port.a.buffer: 3B: must be at least`,
		port("buffer = 3.5"):                                 `port.a.buffer: 3.5: must be text in quotes`,
		port("pages = \"3MiB\""):                             `port.a.pages: "3MiB": must be 2MiB, 1GiB or ordinary`,
		port("pages = \"1GiB\""):                             `port.a.buffer: buffer of 268435456 bytes is no multiple of its 1GiB pages`,
		port("chunks = 8"):                                   `f:3: port.a.chunks: 8: for the pools of zero_copy alone: set that, too`,
		port("zero_copy = true\nchunks = 1"):                 `f:4: port.a.chunks: pools of 1 chunks: want at least 2`,
		port("zero_copy = true\nchunks = 40000"):             `f:4: port.a.chunks: pools of 40000 chunks: 20 GiB each: want at most 16 GiB, 31775 chunks`,
		port("zero_copy = true\nchunk_size = 12"):            `f:4: port.a.chunk_size: chunks of 12 buffers: want a multiple of 8`,
		port("zero_copy = true\nchunk_size = 2056"):          `f:4: port.a.chunk_size: chunks of 2056 buffers: want a multiple of 8, and the receive ring of`,
		port("fifo = 100"):                                   `port.a.fifo: 100: must be a SCHED_FIFO priority of 1 to 99`,
		port("vfs = 2\nqueues = 2"):                          `port.a.vfs: queues 2: with 2 virtual functions want 1 or 4`,
		port("vfs = [\"default\", \"vlan=4095\"]"):           `f:3: port.a.vfs: virtual function 1: VLAN 4095: want 1 to 4094`,
		port("vfs = 1\ncrc = true"):                          `port.a.vfs: virtual functions without KeepCRC only`,
		port("vfs = 1\nport_filters = \"(udp) drop\""):       `port.a.port_filters: the chip has none on a port with virtual functions: use rules`,
		port("mirror = \"to=0 uplink\""):                     `f:3: port.a.mirror: the port has no virtual functions: set vfs`,
		port("vfs = 2\nmirror = \"to=2 uplink\""):            `f:4: port.a.mirror: rule 0: to virtual function 2 of 2`,
		port("sleep = \"no\""):                               `port.a.sleep: "no": must be true or false`,
		port("stamps = \"never\""):                           `timestamp policy "never": choose packet, batch`,
		port("rules = \"(colour) drop\""):                    `f:3: port.a.rules: rules: line 1, column 2`,
		port("rules = \"@nowhere\""):                         `nowhere: no such file`,
		port("dedup = \"pools=3\""):                          `f:3: port.a.dedup: dedup: 32768 records in 3 pools`,
		port("dedup = \"colour=3\""):                         `"colour=3": must be window=DURATION, records=N`,
		port("storage = 3"):                                  `f:3: port.a.storage: not a table`,
		port("storage.queue = 1"):                            `port.a.storage.queue: 1: must be below 1, the number of queues`,
		port("storage.format = \"doc\""):                     `port.a.storage.format: "doc": must be raw, pcap or pcapng`,
		port("storage.zstd = 3"):                             `port.a.storage.zstd: only files of the formats pcap and pcapng are compressed`,
		port("storage.zstd = 23\nstorage.format = \"pcap\""): `port.a.storage.zstd: zstd level 23: choose 1 (fast) to 22`,
		port("storage.store_filter = \"port 22\""):           `port.a.storage.store_filter: only for the formats pcap and pcapng: use rules`,
		port("storage.format=\"pcap\"\nstorage.store_filter = \"prot\""):               `f:4: port.a.storage.store_filter: pcapfilter: `,
		port("storage.dirs = [\"null\", \"/y\"]"):                                      `"null" stores nothing and must be alone`,
		port("storage.dirs = [\" \"]"):                                                 `port.a.storage.dirs: no folder: list those for the files`,
		port("storage.format=\"pcap\"\nstorage.store_filter = \" \""):                  `port.a.storage.store_filter: empty: remove the key, or write "none"`,
		port("storage.command = \"\\t\""):                                              `port.a.storage.command: empty: remove the key, or write "none"`,
		port("storage.dirs = []"):                                                      `port.a.storage.dirs: no folder: list those for the files`,
		port("storage.dirs = [1]"):                                                     `must be texts, such as ["/data0", "/data1"]`,
		port("storage.block = \"3MB\""):                                                `port.a.storage.block: blocks of 3000000 bytes: choose 1, 2, 3 or 4 MiB`,
		port("storage.block = \"5MiB\""):                                               `port.a.storage.block: blocks of 5242880 bytes: choose 1, 2, 3 or 4 MiB`,
		port("storage.block = \"512KiB\""):                                             `port.a.storage.block: blocks of 524288 bytes: choose 1, 2, 3 or 4 MiB`,
		port("storage.in_flight = 0"):                                                  `port.a.storage.in_flight: 0: must be at least 1`,
		port("storage.in_flight = 1000"):                                               `port.a.storage.in_flight: 1000 blocks in flight: choose at most `,
		port("storage.flush = \"1h\""):                                                 `port.a.storage.flush: 1h: must be 1ms to 1m`,
		port("storage.fsync = \"maybe\""):                                              `fsync: sync "maybe": choose close, none or a time such as 10s`,
		port("storage.rotate = \"10ms\""):                                              `port.a.storage.rotate: new files every 10ms: choose 1s to 24h`,
		port("storage.rotate = \"hourly\""):                                            `port.a.storage.rotate: duration "hourly": must be seconds or a number with its unit`,
		good + "[port.b]\ndevice = \"sim:gen\"\nstorage.dirs=\"null\"":                 `f:6: port.b.device: sim:gen: port a has it already`,
		good + "cores=[1]\n[port.b]\ndevice = \"x\"\ncores=[1]\nstorage.dirs=\"null\"": `core 1: port a polls on it already`,
		"[port.a]\ndevice = \"0000:03:00.0\"\nmode = \"kernel\"":                       `every port is left to the kernel`,
		shared("[retention]\nsize = \"1TiB\""):                                         `f:5: retention: nothing is stored`,
		port("[retention]\nsize = \"1GiB\""):                                           `retention.size: 1GiB: one file of a may have 2GiB`,
		port("[retention]\nage = \"1ms\""):                                             `retention.age: 1ms: must be at least 1s`,
		port("[retention]\nage = \"-1s\""):                                             `retention.age: duration "-1s": must be seconds or a number with its unit`,
		shared("[share]\nmode = \"rw\""):                                               `share.mode: "rw": must be a file mode in octal digits`,
		shared("[share]\ndir = \"/" + strings.Repeat("x", 100) + "\""):                 `at most 107 fit: choose a shorter folder`,
		shared("[metrics]\nlisten = \"localhost\""):                                    `metrics.listen: address "localhost": must be HOST:PORT`,
		shared("[share]\ndir = \"/run/x\"\nwait_listeners = 64"):                       `share.wait_listeners: 64: must be 0 to 63`,
		shared("[share]\nwait_listeners = 1"):                                          `share.wait_listeners: 1: no listener can attach`,
		shared("[metrics]\nlisten = \"localhost:http\""):                               `must be HOST:PORT`,
	} {
		_, err := settings.Parse("f", text)
		require.ErrorContains(t, err, want, "in\n%s", text)
		require.True(t, strings.HasPrefix(err.Error(), "f:"), err)
	}
}

func TestEmptyValuesAreRefusedAndNoneTurnsOff(t *testing.T) {
	for _, key := range []string{"device", "mode", "cores", "buffer", "pages", "stamps", "rules", "dedup", "storage.queue", "storage.format",
		"storage.store_filter", "storage.segment", "storage.block", "storage.flush", "storage.fsync", "storage.rotate"} {
		_, err := settings.Parse("f", "[port.b]\n"+key+" = \"\"\n"+good)
		require.ErrorContains(t, err, "f:2: port.b."+key+`: empty: remove the key, or write "none"`)
	}
	for _, key := range []string{"retention.size", "retention.age", "retention.free", "share.dir", "share.mode", "share.linger", "metrics.listen", "hpcapmon.dir"} {
		_, err := settings.Parse("f", key+" = \"\"\n"+good)
		require.ErrorContains(t, err, "f:1: "+key+`: empty: remove the key, or write "none"`)
	}
	_, err := settings.Parse("f", good+`rules = " "`)
	require.ErrorContains(t, err, `f:5: port.a.rules: no rules: write "none" to keep every frame whole`)
	_, err = settings.Parse("f", good+`storage.dirs = [""]`)
	require.Error(t, err)

	s, err := settings.Parse("f", good+`rules = "none"
dedup = "none"
storage.store_filter = "none"
[share]
dir = "none"
[metrics]
listen = "none"
[hpcapmon]
dir = "none"
`)
	require.NoError(t, err)
	require.Empty(t, settings.Compare(s, s, parse(t, good)))
}

func TestProblemOfACommandLineNamesTheSetting(t *testing.T) {
	s := settings.New()
	p := settings.Defaults()
	p.Device, p.Storage.Dirs, p.Queues, p.Storage.InFlight = "sim:gen", settings.Dirs{"null"}, -1, 0
	s.Ports = []settings.Port{p}
	s.Metrics.Listen = "x"
	require.EqualError(t, settings.Join(s.Check()), `metrics.listen: address "x": must be HOST:PORT, such as 127.0.0.1:9482, or :9482 for all addresses
queues: -1: must be 1 to 16, the receive queues of the 82599
storage.in_flight: 0: must be at least 1`)
	require.Equal(t, "queues", s.Check()[1].Setting())
}

func TestRulesFileIsRelativeToTheSettings(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rules"), []byte("(tcp) drop # no\n64"), 0o600))
	path := filepath.Join(dir, "ixcap.toml")
	require.NoError(t, os.WriteFile(path, []byte(good+"rules = \"@rules\""), 0o600))
	s, err := settings.Load(path)
	require.NoError(t, err)
	require.Equal(t, "(tcp) drop; 64", s.Ports[0].Rules.String())

	_, err = settings.Load(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(path, make([]byte, 2<<20), 0o600))
	_, err = settings.Load(path)
	require.ErrorContains(t, err, "more than 1 MiB")
}

func FuzzParse(f *testing.F) {
	f.Add(good)
	f.Add("")
	f.Add("[port.a]\ndevice.x = 3\n[port.a.storage]\ndirs = [[1]]")
	f.Add("[defaults]\n[[storage]]\n[port]\na = {device = 1979-05-27, cores = [{}]}")
	f.Add("port.a.rules = \"@/nowhere\"\nstorage = []\nretention.size = inf")
	if text, err := os.ReadFile(example); err == nil {
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "@") {
			return // it would read files
		}
		s, err := settings.Parse("f", text)
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				require.True(t, strings.HasPrefix(line, "f:"), line)
			}
			return
		}
		require.NotEmpty(t, s.Ports)
		require.Empty(t, s.Check())
		require.NotEmpty(t, s.Summary())
		require.Empty(t, settings.Compare(s, s, s))
	})
}
