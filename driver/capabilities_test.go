package driver_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/driver/drivertest"
	"github.com/ixcap/ixcap/ring"
)

func TestLimitsAreThoseThatOpenEnforces(t *testing.T) {
	l := driver.Limits()
	require.Equal(t, []int{64, 16, 8, 4096, 8, 15868}, []int{l.MaxQueues, l.MaxTxQueues, l.MinRingSize, l.MaxRingSize, l.RingStep, l.MaxFrame})
	require.Equal(t, []int{10000, 1000}, l.Speeds)
	require.EqualValues(t, 10_000_000_000, l.LineRate)
	require.Equal(t, []int{512 << 10, 16}, []int{l.PacketBuffer, l.PacketBufferStep})
	for n := -l.RingStep; n <= l.MaxRingSize+l.RingStep; n++ {
		valid := n >= l.MinRingSize && n <= l.MaxRingSize && n%l.RingStep == 0
		require.Equal(t, valid, ring.CheckSize(n) == nil, "%d descriptors", n)
	}
	open := func(c driver.Config) error {
		p, err := driver.Open(drivertest.NewDevice(), c)
		if err == nil {
			require.NoError(t, p.Close())
		}
		return err
	}
	require.NoError(t, open(driver.Config{Queues: l.MaxQueues, RingSize: 64, TxQueues: l.MaxTxQueues, TxRingSize: 64}))
	require.Error(t, open(driver.Config{Queues: l.MaxQueues + 1}))
	require.Error(t, open(driver.Config{TxQueues: l.MaxTxQueues + 1}))
	require.Error(t, open(driver.Config{MaxFrame: l.MaxFrame + 1}))
	for _, s := range l.Speeds {
		require.NoError(t, open(driver.Config{Speed: s}))
	}
	require.Error(t, open(driver.Config{Speed: 100}))
}

func TestCapabilitiesOfAPortFollowItsConfiguration(t *testing.T) {
	d := drivertest.NewDevice()
	p, err := driver.Open(d, driver.Config{Queues: 2, RingSize: 64, MaxFrame: 1514, Speed: 1000})
	require.NoError(t, err)
	c := p.Capabilities()
	require.Equal(t, 1514, c.MaxFrame)
	require.Equal(t, []int{1000}, c.Speeds)
	require.EqualValues(t, 1_000_000_000, c.LineRate)
	require.Zero(t, c.PacketBuffer, "SRRCTL.DROP_EN is set")
	require.NoError(t, p.Close())

	d = drivertest.NewDevice()
	d.Identity.Device = 0x1517 // KR: the EEPROM sets the speed
	p, err = driver.Open(d, driver.Config{Speed: 1000})
	require.NoError(t, err)
	require.Equal(t, driver.Limits(), p.Capabilities())
	require.NoError(t, p.Close())
}
