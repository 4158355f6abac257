package portstat_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/daemon"
	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/capture/daemon/portstat"
	"github.com/ixcap/ixcap/capture/daemon/settings"
	"github.com/ixcap/ixcap/internal/jsondoc"
	"github.com/ixcap/ixcap/internal/nettest"
	_ "github.com/ixcap/ixcap/sim"
)

func TestEveryKeyIsDocumented(t *testing.T) {
	jsondoc.Check(t, "../../../docs/JSON.md", "nicstat", map[string]reflect.Type{
		"reading": reflect.TypeFor[portstat.Report](), "port of a reading": reflect.TypeFor[portstat.Port](), "counter of a port": reflect.TypeFor[portstat.Counter](),
	})
}

// captured runs a capture of three ports of the model and returns its folder. The third
// one does not end.
func captured(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ixcap-p-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	share := filepath.Join(dir, "share")
	s, err := settings.Parse("f", `
[defaults]
buffer = "8MiB"
[storage]
dirs = "null"
[port.a]
device = "sim:gen,size=100,count=1000,backpressure"
[port.b]
device = "sim:gen,size=100,count=500,backpressure,fault=crc:5"
[port.c]
device = "sim:gen,size=100,rate=1kpps"
[share]
dir = "`+share+`"
`)
	require.NoError(t, err)
	d, err := daemon.Open(s, daemon.Config{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- d.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return share
}

func TestPortsOfACaptureAreReadThroughIt(t *testing.T) {
	dir := captured(t)
	open := func(word, port string) *portstat.Meter {
		s, err := portstat.Open(t.Context(), word, port, []string{filepath.Join(dir, "other"), dir})
		require.NoError(t, err)
		t.Cleanup(s.Close)
		return portstat.New(s)
	}
	value := func(p portstat.Port, name string) uint64 {
		for _, c := range p.Counters {
			if c.Name == name {
				return c.Value
			}
		}
		t.Fatalf("no counter %s in %+v", name, p)
		return 0
	}
	m := open(dir, "")
	var r portstat.Report
	require.Eventually(t, func() bool {
		var err error
		r, err = m.Sample(t.Context())
		require.NoError(t, err)
		return len(r.Ports) == 3 && value(r.Ports[0], "rx_pkts_nic") == 1000 && value(r.Ports[1], "rx_total_packets") == 500
	}, time.Minute, 10*time.Millisecond)
	require.EqualValues(t, 400, value(r.Ports[1], "rx_pkts_nic"))
	require.EqualValues(t, 100, value(r.Ports[1], "rx_crc_errors"))

	var text, all strings.Builder
	require.NoError(t, r.WriteText(&text, false))
	require.Regexp(t, `(?m)^b sim:gen,size=100,count=500,.*$`, text.String())
	require.Regexp(t, `(?m)^  rx_crc_errors +100 .*CRCERRS$`, text.String())
	require.NotContains(t, text.String(), "rx_jabber_errors")
	require.NoError(t, r.WriteText(&all, true))
	require.Contains(t, all.String(), "rx_jabber_errors")

	for word, port := range map[string]string{"": "b", "b": "", filepath.Join(dir, "control.sock"): "b", r.Ports[1].Device: ""} {
		one, err := open(word, port).Sample(t.Context())
		require.NoError(t, err, word)
		require.Len(t, one.Ports, 1, word)
		require.Equal(t, "b", one.Ports[0].Name)
	}
	_, err := open(dir, "d").Sample(t.Context())
	require.ErrorContains(t, err, `no port "d" is captured here; the ports are a, b, c`)
}

// readings is a source with given readings.
type readings struct{ list [][]control.Counters }

func (s *readings) Read(context.Context) ([]control.Counters, error) {
	now := s.list[0]
	s.list = s.list[1:]
	return now, nil
}

func (s *readings) Close() {}

func reading(at int64, counters ...capture.Counter) []control.Counters {
	return []control.Counters{{Port: `x"y\`, At: time.Unix(at, 0), Counters: counters}}
}

func TestRatesAreMeansSinceTheReadingBefore(t *testing.T) {
	m := portstat.New(&readings{[][]control.Counters{
		reading(10, capture.Counter{Name: "a", Value: 100}, capture.Counter{Name: "b", Value: 7}, capture.Counter{Name: "a", Value: 1}),
		reading(12, capture.Counter{Name: "a", Value: 300}, capture.Counter{Name: "b", Value: 3}, capture.Counter{Name: "a", Value: 1}),
	}})
	r, err := m.Sample(t.Context())
	require.NoError(t, err)
	require.Zero(t, r.Over)
	require.Zero(t, r.Ports[0].Counters[0].Rate)
	r, err = m.Sample(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2*time.Second, r.Over)
	require.EqualValues(t, 100, r.Ports[0].Counters[0].Rate)
	require.Zero(t, r.Ports[0].Counters[1].Rate, "it began anew")
	var text strings.Builder
	require.NoError(t, r.WritePrometheus(&text))
	require.Contains(t, text.String(), "\n"+`ixcap_port_device_events_total{port="x\"y\\",counter="a"} 301`+"\n", "of one name: added up")
	promtool(t, text.String())
	_, err = json.Marshal(r)
	require.NoError(t, err)
}

// promtool checks the text format.
func promtool(t *testing.T, text string) {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is missing: apt-get install prometheus")
	}
	cmd := exec.Command(tool, "check", "metrics")
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func TestWordsThatNameNothing(t *testing.T) {
	none := []string{t.TempDir()}
	_, err := portstat.Open(t.Context(), "", "", none)
	require.ErrorContains(t, err, "no capture is served in "+none[0]+": name its folder, or an interface")
	_, err = portstat.Open(t.Context(), "ixnothing", "", none)
	require.ErrorContains(t, err, `"ixnothing": no folder or control socket of a capture`)
	s, err := portstat.Open(t.Context(), t.TempDir(), "", none)
	require.NoError(t, err)
	defer s.Close()
	_, err = s.Read(t.Context())
	require.ErrorContains(t, err, "no capture is served at ")
}

// ethtool -S is the reference for an interface of the kernel.
func TestInterfaceOfTheKernelIsReadAsEthtoolDoes(t *testing.T) {
	tool, err := exec.LookPath("ethtool")
	if err != nil {
		t.Skip("ethtool is missing: apt-get install ethtool")
	}
	nettest.Pair(t, nettest.Veth{MTU: 1500, Queues: 1})
	out, err := exec.Command(tool, "-S", "ixa").Output()
	require.NoError(t, err)
	s, err := portstat.Open(t.Context(), "ixa", "", nil)
	require.NoError(t, err)
	defer s.Close()
	r, err := portstat.New(s).Sample(t.Context())
	require.NoError(t, err)
	var names, want []string
	for _, c := range r.Ports[0].Counters {
		names = append(names, c.Name)
	}
	for _, m := range regexp.MustCompile(`(?m)^ +(.+): \d+$`).FindAllStringSubmatch(string(out), -1) {
		want = append(want, strings.TrimSpace(m[1]))
	}
	require.NotEmpty(t, want, "veth has statistics of its driver")
	require.Equal(t, want, names)
}
