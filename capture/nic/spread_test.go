package nic_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/internal/logtest"
	"github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/wire"
)

// frameWire sends one frame again and again, 5000 times.
type frameWire struct {
	frame []byte
	left  int
}

func (w *frameWire) Receive(frames []wire.Frame, room int) (n int, err error) {
	if w.left == 0 {
		return 0, io.EOF
	}
	for n < min(len(frames), w.left, 64) && room > len(w.frame) {
		frames[n] = wire.Frame{Data: w.frame, At: time.Now().UnixNano()}
		room -= len(w.frame)
		n++
	}
	w.left -= n
	return n, nil
}

func (w *frameWire) Send([]byte) error { return nil }
func (w *frameWire) Up() bool          { return true }
func (w *frameWire) Close() error      { return nil }

// Frames that RSS does not spread by flow are named in the log, each kind once.
func TestFramesThatAreNotSpreadAreNamedOnce(t *testing.T) {
	ip := append([]byte{8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}, make([]byte, 60)...)
	fragment := append([]byte{}, ip...)
	fragment[8] = 0x20
	for name, c := range map[string]struct {
		behind []byte // the addresses
		queues int
		want   string // empty: nothing
		rss    driver.RSS
	}{
		"IP":                         {behind: ip, queues: 2, want: ""},
		"one tag":                    {behind: append([]byte{0x81, 0, 0, 5}, ip...), queues: 2, want: ""},
		"802.1ad":                    {behind: append([]byte{0x88, 0xa8, 0, 5, 0x81, 0, 0, 6}, ip...), queues: 2, want: "two VLAN tags, MPLS or PPPoE"},
		"two tags of 802.1Q":         {behind: append([]byte{0x81, 0, 0, 5, 0x81, 0, 0, 6}, ip...), queues: 2, want: "two VLAN tags, MPLS or PPPoE"},
		"MPLS":                       {behind: append([]byte{0x88, 0x47, 0, 0, 1, 64}, ip[2:]...), queues: 2, want: "two VLAN tags, MPLS or PPPoE"},
		"PPPoE":                      {behind: append([]byte{0x88, 0x64, 0x11, 0, 0, 1, 0, 48, 0, 0x21}, ip[2:]...), queues: 2, want: "two VLAN tags, MPLS or PPPoE"},
		"PPPoE, one queue":           {behind: append([]byte{0x88, 0x64, 0x11, 0, 0, 1, 0, 48, 0, 0x21}, ip[2:]...), queues: 1, want: ""},
		"fragment":                   {behind: fragment, queues: 2, want: "fragments of UDP arrive"},
		"fragment, UDP by addresses": {behind: fragment, queues: 2, rss: driver.RSS{Fields: driver.HashIPv4}},
		"fragment with a tag":        {behind: append([]byte{0x81, 0, 0, 5}, fragment...), queues: 2, want: "fragments of UDP arrive"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			model, err := sim.New(sim.Config{}, &frameWire{append(make([]byte, 12), c.behind...), 5000})
			require.NoError(t, err)
			device, err := sim.Connect(model, "sim:spread")
			require.NoError(t, err)
			port, err := nic.New(device, nic.Config{Queues: c.queues, RSS: c.rss})
			require.NoError(t, err)
			var log logtest.Recorder
			engine, err := capture.New(port, capture.Config{Buffer: 4 << 20, Logger: log.Logger()})
			require.NoError(t, err)
			ledger, err := engine.Run(t.Context(), 10*time.Second)
			require.NoError(t, err)
			require.NoError(t, ledger.Balanced())
			require.EqualValues(t, 5000, ledger.Account.Wire)
			require.NoError(t, engine.Close())
			if c.want == "" {
				require.NotContains(t, log.Text(), " arrive: ")
				return
			}
			require.Equal(t, 1, strings.Count(log.Text(), c.want), log.Text())
		})
	}
}
