package nic_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/ring"
	"github.com/ixcap/ixcap/sim"
)

// drain polls until the wire has ended and the queues are empty.
func drain(t *testing.T, p capture.Port) (frames uint64) {
	t.Helper()
	batch := make([]ring.Frame, 32)
	ended := p.Ended()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		over := false
		select {
		case <-ended:
			over = true
		default:
		}
		polled := 0
		for _, s := range p.Sources() {
			n := s.Poll(batch)
			s.Release()
			polled += n
		}
		frames += uint64(polled)
		if over && polled == 0 {
			return frames
		}
	}
	require.Fail(t, "the wire did not end within 30 s")
	return 0
}

func TestModelsPortIsACapturePort(t *testing.T) {
	p, err := nic.Open("sim:gen,count=3000,flows=100,backpressure", nic.Config{Queues: 4})
	require.NoError(t, err)
	require.Equal(t, "sim:gen,count=3000,flows=100,backpressure", p.Name())
	require.Len(t, p.Sources(), 4)
	require.Equal(t, hugepage.Ordinary, p.Pages(), "a device over vfio-user needs no huge pages")
	require.NoError(t, p.Start())
	time.Sleep(5 * time.Millisecond) // the rings are full, and the wire waits
	frames := drain(t, p)
	require.EqualValues(t, 3000, frames)
	require.Zero(t, p.Device().(*sim.Device).NIC().Late(), "backpressure is no delay of the model")
	a, err := p.Account()
	require.NoError(t, err)
	require.EqualValues(t, 3000, a.Wire)
	require.EqualValues(t, 3000, a.Received)
	require.Len(t, a.Queue, 4)
	require.EqualValues(t, 3000, a.Queue[0]+a.Queue[1]+a.Queue[2]+a.Queue[3])
	require.NoError(t, p.Stop())
	require.NoError(t, p.GoneErr())
	require.NoError(t, p.Close())
}

func TestRemovedPortKeepsItsLastAccount(t *testing.T) {
	p, err := nic.Open("sim:gen,count=5000,backpressure,fault=remove:1000", nic.Config{})
	require.NoError(t, err)
	require.NoError(t, p.Start())
	model := p.Device().(*sim.Device).NIC()
	drain(t, p)
	require.NotZero(t, model.Stats().Removed)
	a, err := p.Account()
	require.ErrorContains(t, err, "gone from the bus")
	require.LessOrEqual(t, a.Wire, uint64(1000), "all ones are not counters")
	select {
	case <-p.Gone():
	default:
		require.Fail(t, "Gone is not closed")
	}
	require.Equal(t, err, p.GoneErr())
	require.NoError(t, p.Close(), "a device that is gone cannot be stopped, which is no error")
}

func TestOpenFailsWithAnErrorOfOneLine(t *testing.T) {
	for name, want := range map[string]string{
		"sim:gen,size=0":       "size",
		"sim:pcap=nosuch.pcap": "no such file",
		"no:such":              "no:such",
	} {
		_, err := nic.Open(name, nic.Config{})
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "\n")
	}
	_, err := nic.Open("sim:gen", nic.Config{Queues: 99})
	require.ErrorContains(t, err, "1 to 64")
}

func TestNewEngineClosesThePortAfterAnError(t *testing.T) {
	_, _, err := nic.NewEngine("sim:gen,backpressure", nic.Config{}, capture.Config{Buffer: 3})
	require.ErrorContains(t, err, "buffer")
	_, _, err = nic.NewEngine("smoke-signal:x", nic.Config{}, capture.Config{})
	require.ErrorContains(t, err, "open device")
	e, p, err := nic.NewEngine("sim:gen,count=10,size=60", nic.Config{}, capture.Config{Buffer: 4 << 20})
	require.NoError(t, err)
	require.Equal(t, "sim:gen,count=10,size=60", p.Name())
	require.NoError(t, e.Close())
}
