package transmit_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capfile"
	"github.com/ixcap/ixcap/driver"
	_ "github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/transmit"
)

// frames is a source of numbered frames at times.
type frames struct {
	n    []int
	at   []int64
	i    int
	sent []int64 // times that Write was told
}

func (f *frames) Next() (int, int64, bool) {
	if f.i == len(f.n) {
		return 0, 0, false
	}
	f.i++
	return f.n[f.i-1], f.at[f.i-1], true
}

func (f *frames) Write(b []byte, at int64) {
	clear(b[:14])
	b[12], b[13] = 0x88, 0xb5
	b[14], b[15] = byte(f.i-1), byte((f.i-1)>>8)
	f.sent = append(f.sent, at)
}

func even(n, size int, gap int64) *frames {
	f := &frames{}
	for i := range n {
		f.n = append(f.n, size)
		f.at = append(f.at, int64(i)*gap)
	}
	return f
}

// run sends through a model, and returns what it put on its wire.
func run(t *testing.T, options string, cfg transmit.Config, src transmit.Source) (transmit.Report, []capfile.Packet) {
	name := filepath.Join(t.TempDir(), "sent.pcap")
	p, err := transmit.Open(t.Context(), "sim:sink="+name+options, transmit.PortConfig{Queues: 1, MaxFrame: 1518})
	require.NoError(t, err)
	report, err := p.Run(t.Context(), cfg, src)
	require.NoError(t, err)
	require.NoError(t, p.Close())
	f, err := os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	r, err := capfile.NewReader(f, capfile.Options{Strict: true})
	require.NoError(t, err)
	var all []capfile.Packet
	for {
		packet, err := r.Next()
		if err != nil {
			break
		}
		packet.Data = slices.Clone(packet.Data)
		all = append(all, packet)
	}
	return report, all
}

// median of the distances of packets, in ns.
func median(all []capfile.Packet) int64 {
	var gaps []int64
	for i := 1; i < len(all); i++ {
		gaps = append(gaps, all[i].Nano-all[i-1].Nano)
	}
	slices.Sort(gaps)
	return gaps[len(gaps)/2]
}

// equal counts distances of packets that are the one before, within 1 ns.
func equal(all []capfile.Packet) (n int) {
	for i := 2; i < len(all); i++ {
		if d := all[i].Nano - 2*all[i-1].Nano + all[i-2].Nano; d >= -1 && d <= 1 {
			n++
		}
	}
	return n
}

// exactRate reports whether the rate is that asked for, to 0.1 %, but for what the program
// was late.
func exactRate(r transmit.Report) bool {
	s := r.Spacing[0]
	elapsed := float64(s.Frames-1)/s.Achieved - r.LateTime.Seconds()
	return math.Abs(float64(s.Frames-1)/elapsed/s.Asked-1) < 1e-3
}

// Each method sends each frame once, in order, and no filler frame arrives. The distances
// of the limiter are the line's, however busy the machine is, and so are those of filler
// frames as long as the program is ahead of the line, for which the line is one of 1 Gb/s.
func TestMethodsSendEachFrameInOrder(t *testing.T) {
	const n, size = 3000, 100
	for _, c := range []struct {
		name string
		transmit.Config
		exact int64
	}{
		{"line", transmit.Config{Method: transmit.LineRate}, 99},
		{"software", transmit.Config{Method: transmit.Software}, 0},
		{"limiter", transmit.Config{Method: transmit.Limiter, Rate: 104 * 8 / 2e-6}, 2000},
		{"segments", transmit.Config{Method: transmit.Limiter}, 0},
		{"filler", transmit.Config{Method: transmit.Filler}, 20_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			options, gap, tries := "", int64(2_000_000), 1
			if c.Method == transmit.Filler {
				options, gap, tries = ",sfp=sx", 20_000_000, 20
			}
			report, sent := run(t, options, c.Config, even(n, size, gap))
			for i := 1; i < tries && (median(sent) != c.exact || !exactRate(report)); i++ {
				report, sent = run(t, options, c.Config, even(n, size, gap))
			}
			require.EqualValues(t, n, report.Frames)
			require.EqualValues(t, n*size, report.Bytes)
			require.Len(t, sent, n)
			for i, p := range sent {
				require.EqualValues(t, size, p.Len)
				require.EqualValues(t, i, int(p.Data[14])|int(p.Data[15])<<8)
			}
			require.Len(t, report.Spacing, 1)
			require.Equal(t, n, report.Spacing[0].Frames)
			if c.name == "segments" {
				require.Greater(t, equal(sent), n/2, "a segment's distances are equal; those of late ones are shorter")
			}
			if c.exact > 0 {
				require.InEpsilon(t, c.exact, median(sent), 1e-3)
			}
			if c.Method == transmit.Filler || c.name == "limiter" {
				require.True(t, exactRate(report), "%+v", report)
			}
			require.Equal(t, c.Method == transmit.Filler, report.Fillers > 0)
		})
	}
}

// pausing is a source that stops for a while before a frame.
type pausing struct {
	*frames
	at    int
	pause time.Duration
}

func (p *pausing) Next() (int, int64, bool) {
	if p.i == p.at {
		time.Sleep(p.pause)
	}
	return p.frames.Next()
}

// What the program is late by the rate limiter does not catch up. It is reported.
func TestTimeForWhichTheProgramWasLateIsReported(t *testing.T) {
	src := &pausing{even(4000, 60, 10_000_000), 2000, 150 * time.Millisecond}
	report, _ := run(t, "", transmit.Config{Method: transmit.Limiter, Rate: 64 * 8 / 10e-6}, src)
	require.NotZero(t, report.Late)
	require.Greater(t, report.LateTime, 30*time.Millisecond, "100 ms are posted ahead")
	require.True(t, exactRate(report), "%+v", report)
	var text strings.Builder
	require.NoError(t, report.WriteText(&text))
	require.Contains(t, text.String(), "posted late: the device waited for the program for")
}

// A software schedule never sends before a frame is due.
func TestSoftwareDoesNotSendEarly(t *testing.T) {
	src := even(50, 60, 100_000_000)
	_, sent := run(t, "", transmit.Config{Method: transmit.Software}, src)
	require.Len(t, sent, 50)
	for i := range sent {
		require.GreaterOrEqual(t, sent[i].Nano, src.sent[i], "it left after it was written")
		require.GreaterOrEqual(t, src.sent[i]-src.sent[0], int64(i)*100_000-100_000)
	}
}

func TestRunEndsWhenItIsToldTo(t *testing.T) {
	for _, m := range []transmit.Method{transmit.LineRate, transmit.Software, transmit.Limiter, transmit.Filler} {
		p, err := transmit.Open(t.Context(), "sim:sink", transmit.PortConfig{Queues: 1, MaxFrame: 1518})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		src := &endless{stop: 2000, cancel: cancel}
		report, err := p.Run(ctx, transmit.Config{Method: m}, src)
		require.NoError(t, err)
		require.NotZero(t, report.Frames)
		require.NoError(t, p.Close())
	}
}

// endless is a source without end that cancels after some frames.
type endless struct {
	i, stop int
	cancel  func()
}

func (e *endless) Next() (int, int64, bool) {
	if e.i++; e.i == e.stop {
		e.cancel()
	}
	return 60, int64(e.i) * 1_000_000, true
}

func (e *endless) Write(b []byte, _ int64) { b[12] = 0x88 }

// Any wait of any method ends when the program is told to, and a frame that is not due yet
// is not sent.
func TestWaitsEndWhenTheSenderIsToldTo(t *testing.T) {
	for _, c := range []struct {
		transmit.Config
		gap int64 // ps
	}{
		{transmit.Config{Method: transmit.Software}, 50_000_000},
		{transmit.Config{Method: transmit.Software}, 3600_000_000_000_000},
		{transmit.Config{Method: transmit.Limiter}, 50_000_000},
		{transmit.Config{Method: transmit.Limiter, Rate: 64 * 8 / 50e-6}, 50_000_000},
		{transmit.Config{Method: transmit.Filler}, 3600_000_000_000_000},
	} {
		p, err := transmit.Open(t.Context(), "sim:sink", transmit.PortConfig{Queues: 1, MaxFrame: 1518})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		n := 2
		if c.gap == 50_000_000 {
			n = 1_000_000
		}
		report, err := p.Run(ctx, c.Config, even(n, 60, c.gap))
		cancel()
		require.NoError(t, err)
		require.Less(t, report.Elapsed, 10*time.Second)
		if n == 2 {
			require.EqualValues(t, 1, report.Frames)
		}
		require.Less(t, report.Frames, uint64(n))
		require.NoError(t, p.Close())
	}
}

// A device whose queues hang is reset; what was in its ring is reported as lost.
func TestFramesThatAResetDiscardsAreReported(t *testing.T) {
	const n = 20_000
	var events []string
	p, err := transmit.Open(t.Context(), "sim:sink,fault=txhang:3000", transmit.PortConfig{Queues: 1, MaxFrame: 1518, OnEvent: func(e driver.Event) {
		events = append(events, e.Text)
	}})
	require.NoError(t, err)
	report, err := p.Run(t.Context(), transmit.Config{Method: transmit.LineRate}, even(n, 60, 0))
	require.NoError(t, err)
	require.NoError(t, p.Close())
	require.EqualValues(t, n, report.Frames)
	require.Positive(t, report.Lost)
	require.LessOrEqual(t, report.Lost, uint64(n-3000+100))
	require.Empty(t, report.Spacing)
	var text strings.Builder
	require.NoError(t, report.WriteText(&text))
	require.Contains(t, text.String(), "lost of these, by a reset of the device")
	require.NotEmpty(t, events)
	require.Contains(t, events[0], "the transmit DMA has stopped")
}

func TestDeviceThatReportsNoFrameIsAnError(t *testing.T) {
	defer transmit.SetStuckTime(300 * time.Millisecond)()
	p, err := transmit.Open(t.Context(), "sim:sink,fault=no-writeback", transmit.PortConfig{Queues: 1, MaxFrame: 1518})
	require.NoError(t, err)
	report, err := p.Run(t.Context(), transmit.Config{Method: transmit.LineRate}, even(20_000, 60, 0))
	require.ErrorContains(t, err, "the device has reported no frame as sent for 300ms")
	require.NotZero(t, report.Frames)
	require.NoError(t, p.Close())
}

func TestCompareMeasuresDistances(t *testing.T) {
	s := transmit.Compare([]int64{0, 1_000_000, 2_000_000, 3_000_000}, []int64{5000, 6010, 6990, 8000})
	require.Equal(t, 4, s.Frames)
	require.InDelta(t, 0, s.Mean, 1e-9)
	require.InDelta(t, math.Sqrt((100+400+100)/3.0), s.StdDev, 1e-9)
	require.EqualValues(t, 20, s.Max)
	require.EqualValues(t, 10, s.Median)
	require.EqualValues(t, 20, s.P999)
	require.InDelta(t, 1e6, s.Asked, 1e-6)
	require.InDelta(t, 1e6, s.Achieved, 1e-6)
	require.Zero(t, transmit.Compare([]int64{1}, []int64{1, 2}))
}

func TestParseRate(t *testing.T) {
	for text, want := range map[string]transmit.Rate{
		"line": {}, "1pps": {Frames: 1}, "14.88Mpps": {Frames: 14.88e6}, "5Gbps": {Bits: 5e9}, "300kbps": {Bits: 300e3},
	} {
		r, err := transmit.ParseRate(text)
		require.NoError(t, err, text)
		require.InEpsilon(t, 1+want.Frames+want.Bits, 1+r.Frames+r.Bits, 1e-12)
		again, err := transmit.ParseRate(r.String())
		require.NoError(t, err)
		require.Equal(t, r, again)
	}
	for _, text := range []string{"", "pps", "5", "-1pps", "1e9pps", "0pps", "1Tbps", "NaNpps", "1..2bps"} {
		_, err := transmit.ParseRate(text)
		require.ErrorContains(t, err, "want line", text)
	}
	require.InDelta(t, 67.2e3, transmit.Rate{Bits: 10e9}.Gap(60), 1e-6)
}

func TestOpenRefusesSocketsOfTheKernel(t *testing.T) {
	for _, name := range []string{"packet:eth0", "xdp:eth0"} {
		_, err := transmit.Open(t.Context(), name, transmit.PortConfig{Queues: 1, MaxFrame: 60})
		require.ErrorContains(t, err, "Send through an 82599")
	}
}
