package driver_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/internal/testtime"
	"github.com/ixcap/ixcap/sim"
)

// Both calibrations give the values of the model, within a unit of the standard.
func TestModelDiagnosticsAreThoseOfTheModule(t *testing.T) {
	for _, calibration := range []string{"internal", "external"} {
		w := &testWire{open: true}
		cfg := sim.Config{Module: sim.ModuleLR}
		if calibration == "external" {
			cfg.Monitoring = sim.MonitoringExternal
		}
		r := openWire(t, w, cfg, driver.Config{RingSize: 64})
		m, err := r.port.Module()
		require.NoError(t, err)
		require.Equal(t, []string{"1", "0000000000000001", "260101"}, []string{m.Revision, m.Serial, m.Date})
		require.Equal(t, 1310, m.Wavelength)
		require.True(t, m.Measures)
		linkUp(t, r.port)
		d, err := r.port.Diagnostics()
		require.NoError(t, err)
		require.Equal(t, calibration == "external", d.External)
		for i, c := range []struct {
			got  driver.Measure
			want driver.Measure
			unit float64
		}{
			{d.Temperature, driver.Measure{Value: 36.5, LowAlarm: -13, LowWarning: -8, HighWarning: 73, HighAlarm: 78}, 1. / 128},
			{d.Supply, driver.Measure{Value: 3.3, LowAlarm: 2.9, LowWarning: 3, HighWarning: 3.6, HighAlarm: 3.7}, 1e-4},
			{d.Bias, driver.Measure{Value: 6.5, LowAlarm: 2, LowWarning: 3, HighWarning: 12, HighAlarm: 13.2}, 2e-3},
			{d.TxPower, driver.Measure{Value: 0.56, LowAlarm: 0.1, LowWarning: 0.1585, HighWarning: 0.7943, HighAlarm: 1}, 1e-4},
			{d.RxPower, driver.Measure{Value: 0.45, LowAlarm: 0.01, LowWarning: 0.02, HighWarning: 0.7943, HighAlarm: 1}, 1e-4},
		} {
			require.InDelta(t, c.want.Value, c.got.Value, c.unit, "%s, quantity %d", calibration, i)
			require.InDelta(t, c.want.LowAlarm, c.got.LowAlarm, c.unit)
			require.InDelta(t, c.want.LowWarning, c.got.LowWarning, c.unit)
			require.InDelta(t, c.want.HighWarning, c.got.HighWarning, c.unit)
			require.InDelta(t, c.want.HighAlarm, c.got.HighAlarm, c.unit)
			require.Empty(t, c.got.State())
		}
		require.False(t, d.RxLoss || d.TxDisabled || d.TxFault)

		w.down.Store(true)
		require.Eventually(t, func() bool { return !r.port.Link().Up }, testtime.Deadline, time.Millisecond)
		d, err = r.port.Diagnostics()
		require.NoError(t, err)
		require.True(t, d.RxLoss)
		require.Equal(t, "low alarm", d.RxPower.State())
		require.InDelta(t, 0, d.RxPower.Value, 1e-4)
		require.NoError(t, r.port.Close())
		_, err = r.port.Diagnostics()
		require.ErrorIs(t, err, os.ErrClosed)
	}
}

func TestModuleThatDoesNotMeasure(t *testing.T) {
	for _, options := range []string{"sfp=da", "sfp=sr,ddm=none"} {
		r := open(t, "gen,count=1,"+options, driver.Config{RingSize: 64})
		_, err := r.port.Diagnostics()
		require.ErrorContains(t, err, "does not measure")
	}
}

func TestModelUnsupportedModuleIsRefusedUnlessAccepted(t *testing.T) {
	dev, err := sim.Open("sfp=lrm,gen,count=1")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, dev.Close()) })
	_, err = driver.Open(dev, driver.Config{RingSize: 64})
	require.ErrorIs(t, err, driver.ErrUnsupportedModule)
	require.ErrorContains(t, err, "find the module: the module in the cage (ixcap model SOFTWARE SFP+) is of a kind that the 82599 is not made for: plug in")
	p, err := driver.Open(dev, driver.Config{RingSize: 64, AnyModule: true})
	require.NoError(t, err)
	linkUp(t, p)
	require.NoError(t, p.Close())
}

func TestModelNegotiates1Gigabit(t *testing.T) {
	r := open(t, "sfp=sx,gen,count=1", driver.Config{RingSize: 64, Negotiate: true})
	require.Equal(t, driver.Link{Up: true, Speed: 1000, Negotiated: true}, linkUp(t, r.port))
	require.Equal(t, "up at 1000 Mb/s, negotiated", r.port.Link().String())
	r = open(t, "sfp=sx,gen,count=1", driver.Config{RingSize: 64})
	require.Equal(t, driver.Link{Up: true, Speed: 1000}, linkUp(t, r.port))
}

func TestModelLEDBlinksAndIsRestored(t *testing.T) {
	const ledctl = 0x200
	r := open(t, "gen,count=1", driver.Config{RingSize: 64})
	r.nic.WriteRegister(ledctl, 0x80040100) // the LED of link and activity is number 2
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.port.Blink(ctx) }()
	for _, want := range []uint32{0x800e0100, 0x800f0100, 0x800e0100} {
		require.Eventually(t, func() bool { return r.nic.ReadRegister(ledctl) == want }, testtime.Deadline, time.Millisecond, "%#x", want)
	}
	require.ErrorContains(t, r.port.Blink(ctx), "already blinking")
	cancel()
	require.NoError(t, <-ended)
	require.Equal(t, uint32(0x80040100), r.nic.ReadRegister(ledctl))

	go func() { ended <- r.port.Blink(t.Context()) }()
	require.Eventually(t, func() bool { return r.nic.ReadRegister(ledctl) != 0x80040100 }, testtime.Deadline, time.Millisecond)
	require.NoError(t, r.port.Close())
	require.NoError(t, <-ended)
	require.ErrorIs(t, r.port.Blink(t.Context()), os.ErrClosed)
}

func FuzzDiagnostics(f *testing.F) {
	f.Add(make([]byte, 112), true)
	f.Fuzz(func(t *testing.T, page []byte, external bool) {
		if len(page) < 112 {
			return
		}
		page[95], page[110] = 0, page[110]&^1
		for _, v := range page[:95] {
			page[95] += v
		}
		d, err := driver.ParseDiagnostics(page, external)
		require.NoError(t, err)
		for _, m := range []driver.Measure{d.Temperature, d.Supply, d.Bias, d.TxPower, d.RxPower} {
			for _, v := range []float64{m.Value, m.LowAlarm, m.HighAlarm, m.LowWarning, m.HighWarning} {
				require.False(t, v != v || v > 1e300 || v < -1e300, "%+v", d)
			}
		}
	})
}
