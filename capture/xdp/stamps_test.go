package xdp

import (
	"encoding/binary"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/internal/testtime"
	"github.com/ixcap/ixcap/ring"
)

// meta is what the program writes before a frame.
func meta(ns uint64) []byte {
	b := binary.NativeEndian.AppendUint64(nil, ns)
	return binary.NativeEndian.AppendUint64(b, ^ns)
}

const at = 1_800_000_000_000_000_000

func TestStampsOfTheProgramAreUTC(t *testing.T) {
	s := newStamped(nil, new(atomic.Int64), false)
	tai := int64(37 * time.Second)
	require.EqualValues(t, at+5, s.stamp(meta(at+5+37e9), tai).UnixNano())
	require.EqualValues(t, at+5, s.stamp(meta(at+4+37e9), tai).UnixNano(), "stamps do not go back")
	require.EqualValues(t, at-1e9, s.stamp(meta(at-1e9+37e9), tai).UnixNano(), "the clock was set")
	before := time.Now().UnixNano()
	require.GreaterOrEqual(t, s.stamp(make([]byte, metaLen), tai).UnixNano(), uint64(min(before, at-1e9)), "a driver without a place for it")
	require.Equal(t, "kernel (software, by the XDP program)", s.StampedBy())
}

func TestStampsOfTheDevice(t *testing.T) {
	s := newStamped(nil, new(atomic.Int64), true)
	require.InDelta(t, time.Now().Unix(), s.stamp(meta(0), 0).Sec(), 60, "before the first of the device")
	require.EqualValues(t, at+5, s.stamp(meta(at+5), int64(time.Second)).UnixNano(), "its clock is not TAI")
	require.EqualValues(t, at+5, s.stamp(meta(0), 0).UnixNano())
	require.EqualValues(t, at+5, s.stamp(make([]byte, metaLen), 0).UnixNano())
	require.Equal(t, "device, by its own clock; 3 frames without have the stamp before", s.StampedBy())
}

// A veth has the function that reads stamps, and none of a device.
func TestTheProgramReadsStampsOfTheDevice(t *testing.T) {
	pair(t, 1500, 1)
	_, err := Open("xdp:ixb,stamps=device", Config{Ring: 1024})
	require.ErrorContains(t, err, "the device does not stamp every frame")
	p, err := Open("xdp:ixb", Config{Ring: 1024})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	x, err := p.netif.XDP()
	if err != nil || !x.Stamp {
		t.Skipf("veth tells no stamps: %v. It needs Linux 6.3", err)
	}
	require.NoError(t, p.program.attached.Close())
	cfg := p.cfg
	cfg.DeviceStamps = true
	require.NoError(t, p.program.attach(p.netif.Index, &cfg, 1, x, false))
	src := newStamped(p.sockets[0], &p.tai, true)
	require.NoError(t, p.Start())
	sender(t)(numbered(1, 60))
	frames := make([]ring.Frame, 1)
	for end := time.Now().Add(testtime.Deadline); src.Poll(frames) == 0; {
		require.True(t, time.Now().Before(end))
		src.Sleep(time.Millisecond)
	}
	d := src.descs[0]
	require.Equal(t, meta(0), src.memory[d.Addr-metaLen:d.Addr], "no stamp, and said so")
	require.EqualValues(t, 1, src.unstamped.Load())
}
