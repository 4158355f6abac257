package dedup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/ring"
)

// The captures: one of the repository, and one of real traffic that may be missing.
const (
	hosts = "../../testdata/hosts.pcap"
	mix   = "../../../shared/pcaps/real-mix.pcap"
)

// arrival is a frame and its arrival time.
type arrival struct {
	ns   uint64
	data []byte
}

// readCapture reads a capture. It skips the test if the file is missing.
func readCapture(t testing.TB, file string) []arrival {
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("%s is missing: it is not part of the repository; docs/DEDUP.md describes it; other tests use testdata/hosts.pcap", file)
	}
	require.NoError(t, err)
	defer f.Close()
	r, err := pcapgo.NewReader(f)
	require.NoError(t, err)
	var out []arrival
	for {
		data, ci, err := r.ReadPacketData()
		if err == io.EOF {
			return out
		}
		require.NoError(t, err)
		if ci.CaptureLength != ci.Length {
			continue // cut: not comparable
		}
		out = append(out, arrival{uint64(ci.Timestamp.UnixNano()), data})
	}
}

// mirrored describes the traffic of a monitor port: a capture replayed at a mean rate
// in frames a second, with copies of some frames after 1 us to twice the window.
type mirrored struct {
	rate   float64
	copies float64 // share of the frames that are copied
	seed   uint64
	window time.Duration
	latest time.Duration // of the copies; 0: twice the window
}

func (m mirrored) of(frames []arrival) []arrival {
	rnd := rand.New(rand.NewPCG(m.seed, 1))
	first, last := frames[0].ns, frames[len(frames)-1].ns
	scale := float64(len(frames)) / m.rate * 1e9 / float64(last-first)
	latest := m.latest
	if latest == 0 {
		latest = 2 * m.window
	}
	var out []arrival
	for i, f := range frames {
		// No two at the same time, so that their order is defined.
		f.ns = first + uint64(float64(f.ns-first)*scale)&^0xf + uint64(i%16)
		out = append(out, f)
		if rnd.Float64() >= m.copies {
			continue
		}
		delay := 1e3 * math.Pow(float64(latest)/1e3, rnd.Float64())
		again := arrival{f.ns + uint64(delay), f.data}
		switch rnd.IntN(10) {
		case 0:
			again.data = retagged(f.data, uint16(rnd.IntN(4094)+1))
		case 1:
			again.data = hopped(f.data)
		}
		if again.data != nil {
			out = append(out, again)
		}
	}
	slices.SortStableFunc(out, func(a, b arrival) int { return int(int64(a.ns - b.ns)) })
	return out
}

// retagged returns a frame on another VLAN: with its tag changed, or one added.
func retagged(b []byte, vid uint16) []byte {
	tag := binary.BigEndian.AppendUint16([]byte{0x81, 0}, vid)
	if binary.BigEndian.Uint16(b[12:]) == 0x8100 {
		if binary.BigEndian.Uint16(b[14:])&0xfff == vid {
			return nil
		}
		return slices.Concat(b[:12], tag, b[16:])
	}
	return slices.Concat(b[:12], tag, b[12:])
}

// hopped returns a frame after one more router; nil if it has no hop limit to decrement.
func hopped(b []byte) []byte {
	out := bytes.Clone(b)
	switch binary.BigEndian.Uint16(b[12:]) {
	case 0x0800:
		if b[22] < 2 {
			return nil
		}
		out[22]--
		// RFC 1624, equation 3: the checksum grows by what the word loses.
		sum := uint32(binary.BigEndian.Uint16(b[24:])) + 0x100
		binary.BigEndian.PutUint16(out[24:], uint16(sum+sum>>16))
	case 0x86dd:
		if b[21] < 2 {
			return nil
		}
		out[21]--
	default:
		return nil
	}
	return out
}

// rssOf returns the hash that an 82599 computes with the driver's settings, and
// whether it computes one (datasheet 7.1.2.8).
func rssOf(b []byte) (uint32, bool) {
	typ, l3 := binary.BigEndian.Uint16(b[12:]), b[14:]
	if typ == 0x8100 {
		typ, l3 = binary.BigEndian.Uint16(b[16:]), b[18:]
	}
	var src, dst netip.Addr
	var proto byte
	var l4 []byte
	switch {
	case typ == 0x0800 && len(l3) >= 20:
		src, dst = netip.AddrFrom4([4]byte(l3[12:16])), netip.AddrFrom4([4]byte(l3[16:20]))
		if binary.BigEndian.Uint16(l3[6:])&0x3fff == 0 {
			proto, l4 = l3[9], l3[min(int(l3[0]&15)*4, len(l3)):]
		}
	case typ == 0x86dd && len(l3) >= 40:
		src, dst = netip.AddrFrom16([16]byte(l3[8:24])), netip.AddrFrom16([16]byte(l3[24:40]))
		proto, l4 = l3[6], l3[40:]
	default:
		return 0, false
	}
	var sport, dport uint16
	if (proto == 6 || proto == 17) && len(l4) >= 4 {
		sport, dport = binary.BigEndian.Uint16(l4), binary.BigEndian.Uint16(l4[2:])
	}
	return driver.MicrosoftKey.Hash(netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport)), true
}

// received returns an arrival as a frame from the driver.
func received(a arrival) ring.Frame {
	f := ring.Frame{Data: a.data, Len: uint32(len(a.data))}
	if hash, ok := rssOf(a.data); ok {
		f.Hash, f.Info = hash, ring.HasHash
	}
	return f
}

// reference returns which frames are duplicates for editcap: those with the length and
// MD5 hash of a frame that is not older than the window.
func reference(t testing.TB, frames []arrival, window time.Duration) []bool {
	return editcap(t, frames, "-w", fmt.Sprintf("%.9f", window.Seconds()))
}

// editcap returns which frames editcap removes with these options.
func editcap(t testing.TB, frames []arrival, options ...string) []bool {
	program, err := exec.LookPath("editcap")
	if err != nil {
		t.Skip("editcap is missing: make tools, or install wireshark-common")
	}
	in, out := filepath.Join(t.TempDir(), "in.pcap"), filepath.Join(t.TempDir(), "out.pcap")
	var file bytes.Buffer
	w := pcapgo.NewWriterNanos(&file)
	require.NoError(t, w.WriteFileHeader(65535, layers.LinkTypeEthernet))
	for _, f := range frames {
		ci := gopacket.CaptureInfo{Timestamp: time.Unix(0, int64(f.ns)), CaptureLength: len(f.data), Length: len(f.data)}
		require.NoError(t, w.WritePacket(ci, f.data))
	}
	require.NoError(t, os.WriteFile(in, file.Bytes(), 0o600))
	report, err := exec.Command(program, append(append([]string{"-V"}, options...), in, out)...).CombinedOutput()
	require.NoError(t, err, "%s", report)
	var dup []bool
	for line := range bytes.Lines(report) {
		switch {
		case bytes.HasPrefix(line, []byte("Packet: ")):
			dup = append(dup, false)
		case bytes.HasPrefix(line, []byte("Skipped: ")):
			dup = append(dup, true)
		}
	}
	require.Len(t, dup, len(frames), "editcap reports every frame")
	return dup
}

// score compares a table with the reference.
type score struct {
	duplicates, found int // of the true duplicates
	others, wrong     int // of the others
	evicted           uint64
	wrongFrames       []int
}

func (s score) tpr() float64 { return float64(s.found) / float64(s.duplicates) }
func (s score) fpr() float64 { return float64(s.wrong) / float64(s.others) }

func evaluate(t testing.TB, c Config, p *played) (s score) {
	table := newTable(t, c)
	table.hash.keys = [4][16]byte{} // the same in each run
	for i := range p.received {
		dup := table.Duplicate(&p.received[i], p.at[i].ns)
		switch {
		case p.reference[i]:
			s.duplicates++
			if dup {
				s.found++
			}
		default:
			s.others++
			if dup {
				s.wrong++
				s.wrongFrames = append(s.wrongFrames, i)
			}
		}
	}
	st := table.Stats()
	require.Equal(t, uint64(len(p.received)), st.Frames)
	require.Equal(t, uint64(s.found+s.wrong), st.Duplicates)
	s.evicted = st.Evicted
	return s
}

// played is a traffic, as arrivals, as frames from the driver, and the reference.
type played struct {
	at        []arrival
	received  []ring.Frame
	reference []bool
}

// cached holds the traffics: each costs more than the tests that use it.
var cached = map[string]*played{}

func play(t testing.TB, file, name string, m mirrored) *played {
	key := file + " " + name
	if cached[key] == nil {
		p := &played{at: m.of(readCapture(t, file))}
		for _, a := range p.at {
			p.received = append(p.received, received(a))
		}
		p.reference = reference(t, p.at, m.window)
		cached[key] = p
	}
	return cached[key]
}

// traffics: A and B have the rates and shares of duplicates of the thesis's traces
// (Table 4.6). near is A with the short delays of a switch. C fills a 10 GbE link, with
// a window that is short compared with the capture.
var traffics = []struct {
	name string
	mirrored
}{
	{"near", mirrored{rate: 2030, copies: 0.6, seed: 4, window: defaultWindow, latest: time.Millisecond}},
	{"A", mirrored{rate: 2030, copies: 0.6, seed: 1, window: defaultWindow}},
	{"B", mirrored{rate: 9560, copies: 0.02, seed: 2, window: defaultWindow}},
	{"C", mirrored{rate: 2.5e6, copies: 0.3, seed: 3, window: time.Millisecond}},
}

func TestDefaultsFindExactlyTheDuplicatesThatEditcapFinds(t *testing.T) {
	files := []string{hosts, mix}
	if raceEnabled { // one goroutine: nothing for the race detector
		files = files[:1]
	}
	for _, file := range files {
		for _, tr := range traffics {
			t.Run(filepath.Base(file)+"/"+tr.name, func(t *testing.T) {
				p := play(t, file, tr.name, tr.mirrored)
				s := evaluate(t, Config{Window: tr.window}, p)
				t.Logf("%d frames, %d duplicates, %d found, %d wrong, %d evicted", len(p.at), s.duplicates, s.found, s.wrong, s.evicted)
				for _, i := range s.wrongFrames {
					t.Logf("wrong: frame %d of %d bytes: %x", i, len(p.at[i].data), p.at[i].data[:min(len(p.at[i].data), 90)])
				}
				require.Greater(t, s.duplicates, 20)
				require.Equal(t, 1.0, s.tpr())
				require.Equal(t, 0.0, s.fpr())
			})
		}
	}
}

// manyFrames is how many frames of real traffic the following test marks.
const manyFrames = 400_000

// The real capture replayed again and again, each time with other copies: of two
// repetitions only frames that are within the window of each other are duplicates.
func TestNoFrameThatDiffersIsDroppedAndEveryCopyIsAmongManyFrames(t *testing.T) {
	if raceEnabled {
		t.Skip("one goroutine: nothing for the race detector")
	}
	capture := readCapture(t, mix)
	var frames []arrival
	for seed := uint64(1); len(frames) < manyFrames; seed++ {
		again := mirrored{rate: 2.5e6, copies: 0.3, seed: seed, window: 100 * time.Microsecond}.of(capture)
		begin := uint64(1_700_000_000e9)
		if n := len(frames); n > 0 {
			begin = frames[n-1].ns + 1
		}
		first := again[0].ns
		for _, f := range again {
			frames = append(frames, arrival{begin + f.ns - first, f.data})
		}
	}
	t.Run("window of time", func(t *testing.T) {
		const window = 100 * time.Microsecond
		some := frames[:manyFrames/8] // editcap -w takes long
		requireSame(t, Config{Window: window}, some, reference(t, some, window))
	})
	t.Run("window of frames", func(t *testing.T) {
		const window = 500
		want := editcap(t, frames, "-D", fmt.Sprint(window+1)) // the frame itself counts
		numbered := slices.Clone(frames)
		for i := range numbered {
			numbered[i].ns = 1_700_000_000e9 + uint64(i)
		}
		requireSame(t, Config{Window: window}, numbered, want)
	})
}

// requireSame requires that a table finds the duplicates that are wanted, in batches
// of a poller.
func requireSame(t *testing.T, c Config, in []arrival, want []bool) {
	table := newTable(t, c)
	var frames []ring.Frame
	var stamps []clock.Stamp
	var keep []uint32
	duplicates, missed, wrong, at := 0, 0, 0, 0
	for i, a := range in {
		frames, stamps, keep = append(frames, received(a)), append(stamps, stampOf(a.ns)), append(keep, 1<<32-1)
		if len(frames) < 64 && i != len(in)-1 {
			continue
		}
		duplicates += table.Mark(frames, stamps, keep)
		for _, k := range keep {
			switch {
			case want[at] && k != 0:
				missed++
			case !want[at] && k == 0:
				wrong++
			}
			at++
		}
		frames, stamps, keep = frames[:0], stamps[:0], keep[:0]
	}
	t.Logf("%d frames, %d duplicates, %+v", len(in), duplicates, table.Stats())
	require.Greater(t, duplicates, len(in)/10)
	require.Zero(t, wrong, "frames dropped that editcap keeps")
	require.Zero(t, missed, "duplicates kept")
}
