package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/examples/internal/cli"
	"github.com/ixcap/ixcap/internal/jsondoc"
)

const shipped = "../../testdata/hosts.pcap"

// Small runs of everything. measure fails unless the stream has the frames that the
// model wrote and the ledgers balance. The test asserts no times.
func TestEveryFrameIsMatchedWithItsArrival(t *testing.T) {
	if _, err := findCores(); err != nil {
		t.Skipf("needs two cores for model and poller: %v", err)
	}
	// More processors than busy threads, whatever GOMAXPROCS is: the model must answer register accesses.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU() + 3))
	dir := t.TempDir()
	o := options{
		trace: "no such file.pcap", fallback: shipped, passes: 1, duration: units.Duration(10 * time.Millisecond), limit: units.Duration(5 * time.Minute),
		policies: "packet,weighted,adaptive,sample=2", only: "1514,wire,original", shared: true, markdown: true,
		json: filepath.Join(dir, "r.json"), svg: filepath.Join(dir, "r.svg"),
	}
	var out strings.Builder
	require.NoError(t, o.run(t.Context(), &out))
	require.Contains(t, out.String(), "| adaptive |")
	require.Contains(t, out.String(), "hosts.pcap: 4019 frames")
	require.FileExists(t, o.svg)

	text, err := os.ReadFile(o.json)
	require.NoError(t, err)
	var report struct {
		Traffics []traffic
		Summary  []struct {
			Traffic string
			Policy  clock.Policy
		}
		Verdicts []verdict
		Runs     []struct {
			Traffic string
			Frames  int
			Lost    uint64
		}
	}
	require.NoError(t, json.Unmarshal(text, &report))
	require.Len(t, report.Summary, 3*2*4)
	require.Len(t, report.Runs, 3*2*4)
	require.Len(t, report.Verdicts, 5)
	frames := map[string]int{}
	for _, tr := range report.Traffics {
		frames[tr.Name] = tr.Frames
	}
	require.Equal(t, 8130, frames["1514"])
	for _, r := range report.Runs {
		require.Equal(t, frames[r.Traffic], r.Frames+int(r.Lost))
	}
}

func TestTraceKeepsItsProportionsAtAnotherSpeed(t *testing.T) {
	in, err := readTrace(shipped)
	require.NoError(t, err)
	name := filepath.Join(t.TempDir(), "out.pcap")
	description, err := in.write(name, thesisBits)
	require.NoError(t, err)
	require.Contains(t, description, "4019 frames, 1842193 bytes, recorded at 9.71 Mb/s; all gaps divided by 58.1")
	out, err := readTrace(name)
	require.NoError(t, err)
	require.Equal(t, in.frames, out.frames)
	n := len(in.at) - 1
	require.InEpsilon(t, float64(in.bytes)*8/thesisBits, out.at[n].Seconds(), 1e-6)
	for _, i := range []int{1, 100, n / 2, n} {
		require.InDelta(t, float64(in.at[i])/float64(in.at[n]), float64(out.at[i])/float64(out.at[n]), 1e-6)
	}
	description, err = in.write(name, 1e6) // slower than the trace: it keeps its gaps
	require.NoError(t, err)
	require.NotContains(t, description, "divided")
}

func TestErrorsAreOneLine(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"policy":   {[]string{"--policies", "packet,best"}, `policy "best"`},
		"traffic":  {[]string{"--traffic", "2000", "--trace", shipped}, "choose from 1514, wire and original"},
		"trace":    {[]string{"--trace", "nowhere.pcap", "--fallback", "nothing.pcap"}, "nothing.pcap"},
		"no pcap":  {[]string{"--trace", "run_test.go"}, "Use a pcap file"},
		"fifo":     {[]string{"--fifo", "2"}, "must be 3 to 99"},
		"passes":   {[]string{"--passes", "0"}, "must be 1 or more"},
		"argument": {[]string{"now"}, "unexpected operand"},
		"too long": {[]string{"--trace", shipped, "--duration", "5m"}, "shorter --duration"},
	} {
		t.Run(name, func(t *testing.T) {
			err := cli.Execute(command(func(o options) error { return o.run(t.Context(), io.Discard) }), c.args...)
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "\n")
		})
	}
}

func TestDocumentedKeysAreTheEncodedOnes(t *testing.T) {
	jsondoc.Check(t, "../../docs/JSON.md", "timestamps", map[string]reflect.Type{
		"the report": reflect.TypeFor[document](), "traffics": reflect.TypeFor[traffic](), "summary": reflect.TypeFor[cell](),
		"verdicts": reflect.TypeFor[verdict](), "runs": reflect.TypeFor[result](), "distribution": reflect.TypeFor[distribution](),
		"noise": reflect.TypeFor[noise](),
	})
}
