package metrics_test

import (
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/capturetest"
	"github.com/ixcap/ixcap/capture/daemon/metrics"
	"github.com/ixcap/ixcap/ring"
)

// clockPort is a port whose device stamps its only frame, a PTP message.
type clockPort struct {
	*capturetest.Port
	ptp  [][]byte
	send atomic.Bool
	came atomic.Int64 // ns since 1970; 0: no frame whose stamp was not taken
}

func (p *clockPort) Sources() []capture.Source { return []capture.Source{p} }
func (p *clockPort) HasClock() bool            { return true }
func (p *clockPort) Release()                  {}
func (p *clockPort) Timed() [][]byte           { return p.ptp }

func (p *clockPort) Poll(frames []ring.Frame) int {
	p.ptp = nil
	if !p.send.CompareAndSwap(true, false) {
		return 0
	}
	f := make([]byte, 60)
	f[12], f[13], f[45] = 0x88, 0xf7, 9
	frames[0] = ring.Frame{Data: f, Len: 60}
	p.ptp = [][]byte{f}
	p.came.Store(time.Now().Add(-time.Second).UnixNano())
	return 1
}

// TakeStamp says that the frame came a second before the poll.
func (p *clockPort) TakeStamp() (capture.DeviceStamp, bool) {
	came := p.came.Swap(0)
	return capture.DeviceStamp{Sequence: 9, Time: came, Uncertainty: 2500}, came != 0
}

func TestScrapeShowsTheComparisonWithTheDevicesClock(t *testing.T) {
	port := &clockPort{Port: capturetest.New(1)}
	e, err := capture.New(port, capture.Config{Buffer: 4 << 20})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	c := metrics.New([]metrics.Port{{Name: "hpcap0", Device: port.Name(), Engine: e}}, nil, nil)
	_, got := scrape(t, c)
	require.Equal(t, "0", got[`ixcap_device_stamps_total{port="hpcap0"}`])
	require.NotContains(t, got, `ixcap_device_stamp_difference_seconds{port="hpcap0",value="mean"}`)

	require.NoError(t, e.Start())
	port.send.Store(true)
	require.Eventually(t, func() bool {
		l, err := e.Ledger()
		return err == nil && l.Clock.Device.Messages == 1
	}, 30*time.Second, time.Millisecond)
	_, got = scrape(t, c)
	require.Equal(t, "1", got[`ixcap_device_stamps_total{port="hpcap0"}`])
	require.Equal(t, "2.5e-06", got[`ixcap_device_stamp_uncertainty_seconds{port="hpcap0"}`])
	for _, value := range []string{"mean", "min", "max"} {
		v, err := strconv.ParseFloat(got[`ixcap_device_stamp_difference_seconds{port="hpcap0",value="`+value+`"}`], 64)
		require.NoError(t, err)
		require.GreaterOrEqual(t, v, 0.999)
		require.Less(t, v, 60.0)
	}
}
