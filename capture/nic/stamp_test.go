package nic_test

import (
	"context"
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/wire"
)

// Between ordinary frames PTP messages arrive, which the device stamps. What the ledger says
// of the stamps in the stream is what the model knows: every difference lies between the
// least and the largest, and these are those of the true arrivals, within the uncertainty.
func TestStampsAreComparedWithTheDevicesClock(t *testing.T) {
	for _, policy := range []clock.Policy{clock.PerPacket, clock.Adaptive} {
		t.Run(policy.String(), func(t *testing.T) { compareStamps(t, policy) })
	}
}

func compareStamps(t *testing.T, policy clock.Policy) {
	const messages, between = 8, 20
	ours, theirs := wire.NewPair()
	model, err := sim.New(sim.Config{Arrivals: messages * (between + 1), ClockError: 60}, ours)
	require.NoError(t, err)
	device, err := sim.Connect(model, "sim:stamps")
	require.NoError(t, err)
	port, err := nic.New(device, nic.Config{Clock: true, RingSize: 64})
	require.NoError(t, err)
	engine, err := capture.New(port, capture.Config{Stamps: policy, Buffer: 4 << 20})
	require.NoError(t, err)
	defer func() { require.NoError(t, engine.Close()) }()
	stamps := make(map[uint16]int64) // of the stream, by sequence number
	listener, err := engine.Stream(0).Listen("stamps", stream.Options{Policy: stream.Lossless})
	require.NoError(t, err)
	var reading sync.WaitGroup
	reading.Go(func() {
		batch := make([]stream.Packet, 64)
		for {
			n, err := listener.ReadBatch(context.Background(), batch)
			for _, p := range batch[:n] {
				if p.Data[12] == 0x88 && p.Data[13] == 0xf7 {
					stamps[binary.BigEndian.Uint16(p.Data[44:])] = p.Time().UnixNano()
				}
			}
			if err != nil {
				break
			}
		}
		_ = listener.Close()
	})

	sender, err := sim.New(sim.Config{}, theirs)
	require.NoError(t, err)
	other, err := sim.Connect(sender, "sim:sender")
	require.NoError(t, err)
	defer other.Close()
	tx, err := driver.Open(other, driver.Config{TxQueues: 1, RingSize: 64})
	require.NoError(t, err)
	defer tx.Close()
	require.NoError(t, engine.Start())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, p := range []*driver.Port{port.Port, tx} {
		_, err := p.WaitLink(ctx)
		require.NoError(t, err)
	}
	compared := func() uint64 {
		ledger, err := engine.Ledger()
		require.NoError(t, err)
		return ledger.Clock.Device.Messages + ledger.Clock.Device.Unmatched
	}
	for i := range messages {
		var batch [][]byte
		for range between {
			batch = append(batch, make([]byte, 200))
		}
		batch = append(batch, ptpSync(uint16(i)))
		require.Equal(t, len(batch), tx.TxQueue(0).Send(batch))
		require.Eventually(t, func() bool { return compared() == uint64(i+1) }, 30*time.Second, time.Millisecond)
	}
	require.NoError(t, engine.Stop())
	reading.Wait()
	ledger, err := engine.Ledger()
	require.NoError(t, err)
	require.NoError(t, ledger.Balanced())
	got := ledger.Clock.Device
	require.EqualValues(t, messages, got.Messages)
	require.Zero(t, got.Unmatched)

	arrivals, err := model.Arrivals()
	require.NoError(t, err)
	least, most := int64(1<<62), int64(-1<<62)
	for i := range messages {
		a := arrivals[(i+1)*(between+1)-1]
		begin := a.At - int64(a.Len+4)*8/10
		least, most = min(least, stamps[uint16(i)]-begin), max(most, stamps[uint16(i)]-begin)
	}
	require.InDelta(t, least, got.Least, float64(got.Uncertainty)+10)
	require.InDelta(t, most, got.Most, float64(got.Uncertainty)+10)
	require.GreaterOrEqual(t, got.Mean, got.Least)
	require.LessOrEqual(t, got.Mean, got.Most)
	_, more := port.TakeStamp()
	require.False(t, more)
}

// ptpSync is a Sync message over Ethernet.
func ptpSync(sequence uint16) []byte {
	f := make([]byte, 60)
	copy(f, []byte{0x01, 0x1b, 0x19, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0x88, 0xf7, 0x00, 0x02, 0, 44})
	binary.BigEndian.PutUint16(f[14+30:], sequence)
	return f
}
