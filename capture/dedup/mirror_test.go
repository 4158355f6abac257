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
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/ring"
)

// The captures: one that is always there, one of real traffic that may be.
const (
	hosts = "../../testdata/hosts.pcap"
	mix   = "../../../shared/pcaps/real-mix.pcap"
)

// arrival is a frame and when it came.
type arrival struct {
	ns   uint64
	data []byte
}

// readCapture skips the test where the file is not there.
func readCapture(t testing.TB, file string) []arrival {
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("%s is missing: it is not shipped, and docs/DEDUP.md is about it; testdata/hosts.pcap stands in for it elsewhere", file)
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
			continue // what was cut off cannot be compared
		}
		out = append(out, arrival{uint64(ci.Timestamp.UnixNano()), data})
	}
}

// mirrored is what a monitor port sees of a capture that is played at a mean rate
// of so many frames a second: some frames once more, after 1 us to twice the window.
type mirrored struct {
	rate   float64
	copies float64 // share of the frames that come again
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
		// Never two at the same moment, so that their order is beyond doubt.
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

// retagged is a frame on another VLAN: its tag changed, or one added.
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

// hopped is a frame behind one more router; nil where there is nothing to count down.
func hopped(b []byte) []byte {
	out := bytes.Clone(b)
	switch binary.BigEndian.Uint16(b[12:]) {
	case 0x0800:
		if b[22] < 2 {
			return nil
		}
		out[22]--
		// RFC 1624, equation 3: what is taken from a word is added to the checksum.
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

// rssOf is the hash that an 82599 computes with the driver's settings, and whether
// it does (datasheet 7.1.2.8).
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

// received is an arrival as a port of the driver hands it over.
func received(a arrival) ring.Frame {
	f := ring.Frame{Data: a.data, Len: uint32(len(a.data))}
	if hash, ok := rssOf(a.data); ok {
		f.Hash, f.Info = hash, ring.HasHash
	}
	return f
}

// truth asks editcap which frames are duplicates: those of which it has seen the
// length and MD5 hash in a frame that is not older than the window.
func truth(t testing.TB, frames []arrival, window time.Duration) []bool {
	editcap, err := exec.LookPath("editcap")
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
	report, err := exec.Command(editcap, "-V", "-w", fmt.Sprintf("%.9f", window.Seconds()), in, out).CombinedOutput()
	require.NoError(t, err, "%s", report)
	var dup []bool
	for line := range strings.Lines(string(report)) {
		for word, is := range map[string]bool{"Packet": false, "Skipped": true} {
			var n int
			if k, _ := fmt.Sscanf(line, word+": %d,", &n); k == 1 {
				require.Equal(t, len(dup)+1, n)
				dup = append(dup, is)
			}
		}
	}
	require.Len(t, dup, len(frames), "editcap tells of every frame")
	return dup
}

// score is how a table does against the truth.
type score struct {
	duplicates, found int // of the true duplicates
	others, wrong     int // of the others
	evicted           uint64
	wrongFrames       []int
}

func (s score) tpr() float64 { return float64(s.found) / float64(s.duplicates) }
func (s score) fpr() float64 { return float64(s.wrong) / float64(s.others) }

func judge(t testing.TB, c Config, p *played) (s score) {
	table := newTable(t, c)
	for i := range p.received {
		dup := table.Duplicate(&p.received[i], p.at[i].ns)
		switch {
		case p.truth[i]:
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

// played is a capture as a traffic, what the driver hands over, and the truth.
type played struct {
	at       []arrival
	received []ring.Frame
	truth    []bool
}

// made keeps them: each costs more than the tests that use it.
var made = map[string]*played{}

func play(t testing.TB, file, name string, m mirrored) *played {
	key := file + " " + name
	if made[key] == nil {
		p := &played{at: m.of(readCapture(t, file))}
		for _, a := range p.at {
			p.received = append(p.received, received(a))
		}
		p.truth = truth(t, p.at, m.window)
		made[key] = p
	}
	return made[key]
}

// traffics: A and B have the rates of the thesis's traces (Table 4.6), and duplicates
// like them: a third of A, little of B; near is A with copies as a switch makes them,
// that are not held up. C fills a 10 GbE link, with a window that is short against the
// capture.
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
				s := judge(t, Config{Window: tr.window}, p)
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
