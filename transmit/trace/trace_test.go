package trace_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/query"
	"github.com/ixcap/ixcap/transmit"
	"github.com/ixcap/ixcap/transmit/trace"
)

// record is a packet of a test file.
type record struct {
	data  []byte
	len   int
	stamp int64
}

func write(t *testing.T, records ...record) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "in.pcap")
	f, err := os.Create(name)
	require.NoError(t, err)
	w := pcapgo.NewWriterNanos(f)
	require.NoError(t, w.WriteFileHeader(65536, layers.LinkTypeEthernet))
	for _, r := range records {
		require.NoError(t, w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(0, r.stamp), CaptureLength: len(r.data), Length: max(r.len, len(r.data))}, r.data))
	}
	require.NoError(t, f.Close())
	return name
}

func frame(n int, fill byte) []byte {
	f := make([]byte, n)
	for i := range f {
		f[i] = fill
	}
	f[12], f[13] = 0x88, 0xb5
	return f
}

func load(t *testing.T, r trace.Request) *trace.Trace {
	t.Helper()
	r.Query.Queue, r.Memory = capture.AllQueues, 1<<20
	tr, err := trace.Load(r)
	require.NoError(t, err)
	return tr
}

// sent is what a player gives.
type sent struct {
	data []byte
	at   int64
}

func play(tr *trace.Trace, times trace.Times, most int) (all []sent) {
	p := trace.NewPlayer(tr, times)
	for range most {
		n, at, ok := p.Next()
		if !ok {
			return all
		}
		b := make([]byte, n)
		p.Write(b, 0)
		all = append(all, sent{b, at})
	}
	return all
}

func TestFramesAndTimesAreThoseOfTheFile(t *testing.T) {
	const zero = 1_700_000_000_000_000_000
	a, b, c := frame(60, 1), frame(100, 2), frame(1514, 3)
	tr := load(t, trace.Request{Paths: []string{write(t,
		record{a, 0, zero + 7}, record{b, 0, zero + 1007}, record{a, 0, zero + 907}, record{c[:200], 1514, zero + 3007}, record{a[:10], 10, zero + 4000})}})
	require.EqualValues(t, 1, tr.Padded)
	require.EqualValues(t, 1, tr.Skipped)
	require.Equal(t, 4, tr.Frames())
	require.Equal(t, 1514, tr.Longest())
	cut := append(c[:200:200], make([]byte, 1314)...)
	require.Equal(t, []sent{{a, 0}, {b, 1e6}, {a, 1e6}, {cut, 3e6}, {a, 4e6}, {b, 5e6}}, play(tr, trace.Times{Recorded: true, Scale: 1, Loops: 2}, 6))
	require.Len(t, play(tr, trace.Times{Recorded: true, Scale: 1, Loops: 3}, 100), 12)
	require.Len(t, play(tr, trace.Times{}, 100), 100, "without end")
	require.EqualValues(t, 1.5e6, play(tr, trace.Times{Recorded: true, Scale: 2, Loops: 1}, 9)[3].at)
	require.EqualValues(t, 3e6, play(tr, trace.Times{Rate: transmit.Rate{Frames: 1e6}, Loops: 1}, 9)[3].at)
}

// Times of files are any number: a frame in years is not one that is due now.
func TestStampsFarApartStayInOrder(t *testing.T) {
	a := frame(60, 1)
	tr := load(t, trace.Request{Paths: []string{write(t, record{a, 0, 0}, record{a, 0, 1e18}, record{a, 0, 2e18})}})
	last := int64(-1)
	for _, f := range play(tr, trace.Times{Recorded: true, Scale: 1, Loops: 2}, 6) {
		require.GreaterOrEqual(t, f.at, last)
		last = f.at
	}
	require.Greater(t, last, int64(1e18))
}

func TestTimeSpan(t *testing.T) {
	name := write(t, record{frame(60, 1), 0, 1e18}, record{frame(60, 2), 0, 2e18}, record{frame(60, 3), 0, 3e18})
	tr := load(t, trace.Request{Paths: []string{name}, Query: query.Request{From: time.Unix(0, 2e18), To: time.Unix(0, 3e18)}})
	require.Equal(t, []sent{{frame(60, 2), 0}}, play(tr, trace.Times{Loops: 1}, 9))
	_, err := trace.Load(trace.Request{Paths: []string{name}, Query: query.Request{To: time.Unix(1, 0), Queue: capture.AllQueues}, Memory: 1e6})
	require.ErrorContains(t, err, "none to send")
	_, err = trace.Load(trace.Request{Paths: []string{name}, Query: query.Request{Queue: capture.AllQueues}, Memory: 150})
	require.ErrorContains(t, err, "raise --memory")
}

// The edits agree with those of tcprewrite.
func TestEdits(t *testing.T) {
	tcprewrite, err := exec.LookPath("tcprewrite")
	if err != nil {
		t.Skip("tcprewrite is missing: apt-get install tcpreplay")
	}
	plain := frame(80, 9)
	tagged := append(append(append([]byte{}, plain[:12]...), 0x81, 0, 0x60, 7), plain[12:]...)
	in := write(t, record{plain, 0, 1e18}, record{tagged, 0, 2e18})
	src, dst := [6]byte{2, 0, 0, 0, 0, 1}, [6]byte{2, 0, 0, 0, 0, 2}
	for _, c := range []struct {
		edit trace.Edit
		args []string
	}{
		{trace.Edit{Src: &src, Dst: &dst}, []string{"--enet-smac=02:00:00:00:00:01", "--enet-dmac=02:00:00:00:00:02"}},
		{trace.Edit{StripVLAN: true}, []string{"--enet-vlan=del"}},
	} {
		out := filepath.Join(t.TempDir(), "out.pcap")
		text, err := exec.Command(tcprewrite, append(c.args, "-i", in, "-o", out)...).CombinedOutput()
		require.NoError(t, err, string(text))
		want := play(load(t, trace.Request{Paths: []string{out}}), trace.Times{Loops: 1}, 9)
		require.Equal(t, want, play(load(t, trace.Request{Paths: []string{in}, Edit: c.edit}), trace.Times{Loops: 1}, 9))
	}
	got := play(load(t, trace.Request{Paths: []string{in}, Edit: trace.Edit{VLAN: 100}}), trace.Times{Loops: 1}, 9)
	require.Equal(t, "\x81\x00\x00\x64\x88\xb5", string(got[0].data[12:18]))
	require.Equal(t, plain[14:], got[0].data[18:])
	require.Equal(t, "\x81\x00\x60\x64\x88\xb5", string(got[1].data[12:18]), "its priority stays")
	require.Len(t, got[1].data, 84)
}
