package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A stepped device makes a pass only when it is told to, at the time that it is told.
func TestSteppedDeviceWaitsForItsTime(t *testing.T) {
	w := &testWire{}
	w.push(make([]byte, 60))
	n, err := New(Config{Stepped: true, StartAtLinkUp: true}, w)
	require.NoError(t, err)
	defer func() { require.NoError(t, n.Close()) }()
	start := time.Now()
	n.Step(start) // begins to bring the link up
	require.Zero(t, n.Stats().Offered)
	n.Step(start.Add(4 * time.Millisecond))
	require.Zero(t, n.Stats().Offered, "the link takes 5 ms")
	n.Step(start.Add(time.Second))
	require.True(t, n.link.up)
	n.Step(start.Add(time.Second))
	require.EqualValues(t, 1, n.Stats().Offered)
}

// What its client does has the time of the device's next pass, not that of the machine.
func TestSteppedDeviceTakesNoTimesOfItsClient(t *testing.T) {
	for _, stepped := range []bool{true, false} {
		n, err := New(Config{Stepped: stepped}, &testWire{})
		require.NoError(t, err)
		d, err := Connect(n, "sim:test")
		require.NoError(t, err)
		bar, err := d.BAR(regionRegisters)
		require.NoError(t, err)
		_, timed := bar.(tailClock)
		require.Equal(t, !stepped, timed)
		require.NoError(t, d.Close())
	}
}
