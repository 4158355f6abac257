package driver_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/driver/drivertest"
	"github.com/ixcap/ixcap/driver/internal/reg"
	"github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/wire"
)

func TestEveryStatisticsRegisterIsACounter(t *testing.T) {
	d := drivertest.NewDevice()
	p, err := driver.Open(d, driver.Config{Queues: 16, TxQueues: 16, RingSize: 64, TxRingSize: 64, MaxFrame: 1514})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	want := map[string]uint64{} // by register
	for _, row := range reg.Table {
		if row.Access != reg.RC || row.Section != "8.2.3.23" {
			continue
		}
		for i := range row.N() {
			r := row.At(i)
			v := uint32(r.Offset)
			if low, isHigh := lowHalf(r); isHigh {
				v &= 0xf // 36 bits
				want[low] += uint64(v) << 32
			} else {
				want[r.Name()] += uint64(v)
			}
			d.Set(r, v)
		}
	}
	all, err := p.Counters()
	require.NoError(t, err)
	names := map[string]bool{}
	for _, c := range all {
		require.False(t, names[c.Name], c.Name)
		names[c.Name] = true
		require.NotContains(t, c.Name, "%")
		if v, known := want[c.Register]; known {
			require.Equal(t, v, c.Value, "%s %s", c.Name, c.Register)
			delete(want, c.Register)
		}
	}
	require.Empty(t, want, "registers without a counter")
	again, err := p.Counters() // the device does not clear its registers
	require.NoError(t, err)
	for i, c := range again {
		require.Equal(t, 2*all[i].Value, c.Value, c.Name)
	}
}

// lowHalf returns the name of the register of the low half, if r is a high one.
func lowHalf(r reg.Register) (string, bool) {
	row := strings.TrimSuffix(r.Row().Name, "H")
	if row == r.Row().Name {
		return "", false
	}
	return strings.Replace(r.Name(), row+"H", row+"L", 1), true
}

// badMix is a frame of each kind that the MAC refuses, and the name of its counter.
func badMix() (frames []wire.Frame, names []string) {
	for _, b := range []struct {
		name   string
		damage wire.Damage
		size   int
	}{
		{"rx_crc_errors", wire.BadCRC, 100},
		{"rx_error_bytes", wire.ErrorByte, 100},
		{"rx_illegal_byte_errors", wire.IllegalByte, 100},
		{"rx_short_length_errors", wire.Unpadded, 50},
		{"rx_fragment_errors", wire.Unpadded | wire.BadCRC, 50},
		{"rx_long_length_errors", 0, 2000},
		{"rx_jabber_errors", wire.BadCRC, 2000},
	} {
		data := make([]byte, b.size)
		data[12] = 0x88
		data[13] = 0xb5
		frames = append(frames, wire.Frame{Data: data, Damage: b.damage})
		names = append(names, b.name)
	}
	return frames, names
}

func TestModelCountersOfGoodAndBadFrames(t *testing.T) {
	frames, names := badMix()
	broadcast, multicast := udpFrame(t, false, false, false), udpFrame(t, false, false, false)
	copy(broadcast, "\xff\xff\xff\xff\xff\xff")
	multicast[0] |= 1
	good := [][]byte{udpFrame(t, false, false, false), broadcast, multicast, multicast, make([]byte, 60), make([]byte, 1514)}
	for _, data := range good {
		frames = append(frames, wire.Frame{Data: data})
	}
	r := openWire(t, &scriptWire{frames: frames}, sim.Config{}, driver.Config{RingSize: 64, MaxFrame: 1514})
	require.NoError(t, r.port.Start())
	require.Len(t, r.receive(), len(good))
	s := r.balance()
	require.EqualValues(t, len(frames), s.Wire)

	all, err := r.port.Counters()
	require.NoError(t, err)
	count := map[string]uint64{}
	for _, c := range all {
		count[c.Name] = c.Value
	}
	for _, name := range names {
		require.EqualValues(t, 1, count[name], name)
	}
	var octets uint64
	for _, f := range frames {
		octets += uint64(len(f.Data) + 4)
	}
	for name, want := range map[string]uint64{
		"rx_pkts_nic": uint64(len(good)), "rx_queue_0_packets": uint64(len(good)), "rxdgpc": uint64(len(good)),
		"rx_total_packets": uint64(len(frames)), "rx_total_bytes": octets,
		"broadcast": 1, "multicast": 2, "rx_size_64_packets": 1, "rx_size_1024_to_max_packets": 1,
		"rx_missed_errors": 0, "rx_no_dma_resources": 0, "rx_length_errors": 0,
	} {
		require.Contains(t, count, name)
		require.Equal(t, want, count[name], name)
	}
	require.NotContains(t, count, "rx_queue_1_packets", "not in use")
}
