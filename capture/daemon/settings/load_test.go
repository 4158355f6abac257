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

// good is the least that a file must say.
const good = `
[port.a]
device = "sim:gen"
storage.dirs = "null"
`

func TestExampleIsRightAndShowsEveryKey(t *testing.T) {
	s, err := settings.Load(example)
	require.NoError(t, err)
	require.Len(t, s.Ports, 2)
	p := s.Ports[0]
	require.Equal(t, "hpcap0", p.Name)
	require.Equal(t, 2, p.Queues)
	require.EqualValues(t, []int{2, 3}, p.Cores)
	require.EqualValues(t, 1<<30, p.Buffer)
	require.Equal(t, hugepage.Size2M, p.Pages.Size)
	require.Equal(t, "(udp and port 53) all; (vlan 12) drop; all", p.Filter.Rules.String())
	require.EqualValues(t, []string{"/data0", "/data1"}, p.Storage.Dirs)
	require.EqualValues(t, 2<<30, p.Storage.Segment, "a port's own [storage] replaces only what it names")
	require.Equal(t, time.Hour, p.Storage.Rotate.Duration())
	require.Equal(t, settings.Kernel, s.Ports[1].Mode)
	require.Equal(t, 14*24*time.Hour, s.Retention.Age.Duration())
	require.EqualValues(t, 0o660, s.Share.Mode)

	text, err := os.ReadFile(example)
	require.NoError(t, err)
	for _, of := range []any{settings.Port{}, settings.Storage{}, settings.Retention{}, settings.Share{}, settings.Metrics{}, settings.Data{}} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(of)) {
			if key := f.Tag.Get("toml"); key != "" && key != "storage" {
				require.Regexp(t, `(?m)^(# )?`+key+` *= `, string(text), "the example lacks a key")
				require.Equal(t, f.Tag.Get("live") == "yes", strings.Contains(lineOf(string(text), key), "[live"), "%s: what is marked live must be", key)
			}
		}
	}
}

// lineOf is what the file says about a key: its line, and the end of its value.
func lineOf(text, key string) string {
	for part := range strings.SplitSeq(strings.ReplaceAll(text, "\"\"\"\n(", "("), "\n") {
		if strings.HasPrefix(strings.TrimPrefix(part, "# "), key+" ") && key != "filter" {
			return part
		}
	}
	_, behind, _ := strings.Cut(text, "\n\"\"\"")
	line, _, _ := strings.Cut(behind, "\n")
	return line
}

func TestDefaultsStandWhereAFileSaysNothing(t *testing.T) {
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

func TestPortsComeInTheOrderOfTheFile(t *testing.T) {
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
caplen = 60
`)
	require.NoError(t, err)
	var names []string
	for _, p := range s.Ports {
		names = append(names, p.Name)
		require.Equal(t, 60, p.CapLen)
		require.True(t, p.Stores())
	}
	require.Equal(t, []string{"z", "b", "m"}, names)
	require.Equal(t, clock.Sample(4), s.Ports[2].Stamps)
	require.NotNil(t, s.Ports[2].Dedup.Config)
	require.EqualValues(t, 1<<20, s.Ports[2].Storage.Segment)
	require.EqualValues(t, 2<<30, s.Ports[0].Storage.Segment)
}

func TestEveryMistakeIsToldWithItsLineAllAtOnce(t *testing.T) {
	_, err := settings.Parse("ixcap.toml", `[port.a]
device = "sim:gen"
bufer = "1GiB"
queues = 17
caplen = "sixty"

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
		`ixcap.toml:3: unknown key bufer in [port.a]: buffer is meant?`,
		`ixcap.toml:4: 17 queues: the 82599 receives on 1 to 16`,
		`ixcap.toml:5: caplen: "sixty": want a number without quotes`,
		`ixcap.toml:8: folder /x/ is named twice`,
		`ixcap.toml:9: segment of 1500000B: choose a multiple of 1 MiB`,
		`ixcap.toml:11: no device: say which port it is, as in device = "0000:03:00.0"`,
		`ixcap.toml:12: mode "kernal": want capture, or kernel for a port that is left to the kernel's driver`,
		`ixcap.toml:13: speed 40000: want 1000 or 10000 Mb/s, or 0 for what the module can`,
		`ixcap.toml:14: 2 cores for 1 queues: name one for each`,
		`ixcap.toml:14: core 1 is named twice: a poller needs a core of its own`,
		`ixcap.toml:16: unknown table [retnetion]: retention is meant?`,
		`ixcap.toml:20: listen: 9482: want text in quotes`,
	}
	require.Equal(t, want, strings.Split(err.Error(), "\n"))
}

func TestWhatManyPortsInheritIsToldOnce(t *testing.T) {
	_, err := settings.Parse("f", `[defaults]
buffer = "3MiB"
[port.a]
device = "sim:gen"
[port.b]
device = "sim:gen,x"
[storage]
dirs = "null"
`)
	require.EqualError(t, err, "f:2: buffer of 3MiB: choose a power of two, such as 256MiB or 1GiB")
}

func TestBadValuesSayWhatToDo(t *testing.T) {
	port := func(lines string) string {
		return "[port.a]\ndevice = \"sim:gen\"\n" + lines + "\n[storage]\ndirs = \"/x\""
	}
	shared := func(table string) string { return good + table }
	for text, want := range map[string]string{
		"":                                                   `no port: add a table such as [port.hpcap0]`,
		"port = 3":                                           `f:1: port is no table: write [port]`,
		"[port.a]\ndevice = ":                                `f:2: `,
		"[[port]]\ndevice = \"x\"":                           `f:1: port is no table`,
		"[port.\"a b\"]\ndevice = \"x\"":                     `port name "a b": want at most 48 letters`,
		port("queues = 0"):                                   `f:3: 0 queues: want at least 1`,
		port("queues = 2\ncores = [1]"):                      `f:4: 1 cores for 2 queues`,
		port("cores = [-1]"):                                 `f:3: cores: core "-1": want numbers from 0`,
		port("caplen = 70000"):                               `f:3: capture length 70000: choose 1 to`,
		port("buffer = \"1GiB \"\nx=1"):                      `unknown key x in [port.a]: choose one of buffer, caplen, cores, dedup`,
		port("buffer = \"1MiB\""):                            `f:3: buffer of 1MiB: storing needs at least 2MiB`,
		port("buffer = 3"):                                   `buffer of 3B: storing needs at least`,
		port("buffer = 3.5"):                                 `buffer: 3.5: want text in quotes`,
		port("pages = \"3MiB\""):                             `pages "3MiB": want 2MiB, 1GiB or ordinary`,
		port("pages = \"1GiB\""):                             `buffer of 256MiB is no multiple of its 1GiB pages`,
		port("fifo = 100"):                                   `SCHED_FIFO priority 100: choose 1 to 99`,
		port("sleep = \"no\""):                               `sleep: "no": want true or false`,
		port("stamps = \"never\""):                           `timestamp policy "never": choose packet, batch`,
		port("filter = \"(colour) drop\""):                   `f:3: filter: rules: line 1, column 2`,
		port("filter = \"@nowhere\""):                        `nowhere: no such file`,
		port("dedup = \"pools=3\""):                          `f:3: dedup: 32768 records in 3 pools`,
		port("dedup = \"colour=3\""):                         `choose window=TIME, records=N`,
		port("storage = 3"):                                  `port.a.storage is no table`,
		port("storage.queue = 1"):                            `queue 1: the port runs with 1, numbered from 0`,
		port("storage.format = \"doc\""):                     `format "doc": want raw, pcap or pcapng`,
		port("storage.zstd = 3"):                             `files are compressed in the formats pcap and pcapng only`,
		port("storage.zstd = 23\nstorage.format = \"pcap\""): `zstd level 23: choose 1 to 22`,
		port("storage.store_filter = \"port 22\""):           `raw files hold what filter keeps`,
		port("storage.format=\"pcap\"\nstorage.store_filter = \"prot\""):               `f:4: store_filter: pcapfilter: `,
		port("storage.dirs = [\"null\", \"/y\"]"):                                      `"null" stands for no folder`,
		port("storage.dirs = []"):                                                      `no folder: name those for the files`,
		port("storage.dirs = [1]"):                                                     `want texts, such as ["/data0", "/data1"]`,
		port("storage.block = \"3MiB\""):                                               `block of 3MiB: choose 1MiB, 2MiB or 4MiB`,
		port("storage.in_flight = 0"):                                                  `0 blocks in flight: choose 1 to 64`,
		port("storage.flush = \"1h\""):                                                 `flush after 1h: choose 1ms to 1m`,
		port("storage.fsync = \"maybe\""):                                              `fsync: sync "maybe": choose close, none or a time such as 10s`,
		port("storage.rotate = \"10ms\""):                                              `rotate every 10ms: choose 1s to 1d`,
		port("storage.rotate = \"hourly\""):                                            `duration "hourly": must be seconds or a number with its unit`,
		good + "[port.b]\ndevice = \"sim:gen\"\nstorage.dirs=\"null\"":                 `device sim:gen: port a has it already`,
		good + "cores=[1]\n[port.b]\ndevice = \"x\"\ncores=[1]\nstorage.dirs=\"null\"": `core 1: port a polls on it already`,
		"[port.a]\ndevice = \"0000:03:00.0\"\nmode = \"kernel\"":                       `every port is left to the kernel`,
		shared("[retention]\nsize = \"1TiB\""):                                         `nothing is stored that could be deleted`,
		port("[retention]\nsize = \"1GiB\""):                                           `one file of a alone may have 2GiB`,
		port("[retention]\nage = \"1ms\""):                                             `retention for 1ms: choose at least 1s`,
		port("[retention]\nage = \"-1s\""):                                             `duration "-1s": must be seconds or a number with its unit`,
		shared("[share]\nmode = \"rw\""):                                               `mode "rw": want a mode in octal digits`,
		shared("[share]\ndir = \"/" + strings.Repeat("x", 100) + "\""):                 `and at most 107 fit: choose a shorter folder`,
		shared("[metrics]\nlisten = \"localhost\""):                                    `address "localhost": want HOST:PORT`,
		shared("[metrics]\nlisten = \"localhost:http\""):                               `want HOST:PORT`,
	} {
		_, err := settings.Parse("f", text)
		require.ErrorContains(t, err, want, "in\n%s", text)
		require.True(t, strings.HasPrefix(err.Error(), "f:"), err)
	}
}

func TestRulesInAFileAreLookedForBesideTheSettings(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rules"), []byte("(tcp) drop # no\n64"), 0o600))
	path := filepath.Join(dir, "ixcap.toml")
	require.NoError(t, os.WriteFile(path, []byte(good+"filter = \"@rules\""), 0o600))
	s, err := settings.Load(path)
	require.NoError(t, err)
	require.Equal(t, "(tcp) drop; 64", s.Ports[0].Filter.String())

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
	f.Add("port.a.filter = \"@/nowhere\"\nstorage = []\nretention.size = inf")
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
