package driver_test

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/ring"
	"github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/wire"
)

// withCRC appends the right CRC to a frame.
func withCRC(f []byte) []byte {
	return binary.LittleEndian.AppendUint32(append([]byte(nil), f...), crc32.ChecksumIEEE(f))
}

func TestModelCRCIsKept(t *testing.T) {
	var frames []wire.Frame
	for _, n := range []int{60, 61, 1514, 2044, 2045, 2048, 4096, 15868} {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(i * n)
		}
		copy(data[12:], "\x88\xb5")
		frames = append(frames, wire.Frame{Data: data})
	}
	r := openWire(t, &scriptWire{frames: frames}, sim.Config{}, driver.Config{RingSize: 64, KeepCRC: true})
	require.NoError(t, r.port.Start())
	got := r.receive()
	require.Len(t, got, len(frames))
	var bytes uint64
	for i, f := range got {
		require.Equal(t, withCRC(frames[i].Data), f.data)
		require.Equal(t, ring.HasCRC, f.info)
		bytes += uint64(len(f.data))
	}
	s := r.balance()
	require.Equal(t, bytes, s.ReceivedBytes, "with the CRC")
	require.Equal(t, bytes, s.WireBytes)
}

func TestModelBadFramesAreKeptWithTheirFault(t *testing.T) {
	for _, strip := range []bool{false, true} {
		frames, _ := badMix()
		plain := udpFrame(t, false, false, false)
		tagged := append(append(plain[:12:12], 0x81, 0, 0, 5), plain[12:]...)
		frames = append(frames, wire.Frame{Data: tagged}, wire.Frame{Data: tagged, Damage: wire.BadCRC, CRC: 7},
			wire.Frame{Data: tagged, Damage: wire.ErrorByte}, wire.Frame{Data: make([]byte, 3), Damage: wire.Unpadded})
		faults := []ring.Fault{
			ring.WrongCRC, ring.BadSymbol, ring.BadSymbol, ring.Undersize, ring.Fragment, ring.BadSymbol, ring.WrongCRC,
			ring.NoFault, ring.WrongCRC, ring.BadSymbol, ring.Undersize,
		}
		r := openWire(t, &scriptWire{frames: frames}, sim.Config{}, driver.Config{RingSize: 64, MaxFrame: 1514, KeepBad: true, StripVLAN: strip})
		require.NoError(t, r.port.Start())
		got := r.receive()
		require.Len(t, got, len(frames))
		require.Equal(t, strip, got[7].info&ring.Stripped != 0)
		for i, f := range got {
			want := withCRC(frames[i].Data)
			if frames[i].Damage&wire.BadCRC != 0 {
				want = binary.LittleEndian.AppendUint32(want[:len(want)-4], frames[i].CRC)
			}
			if strip && f.info&ring.Stripped != 0 {
				want = append(want[:12:12], want[16:]...)
			}
			require.Equal(t, want, f.data, "frame %d", i)
			require.Equal(t, faults[i], f.info.Fault(uint32(len(f.data))), "frame %d", i)
		}
		s := r.balance()
		require.EqualValues(t, len(frames), s.Wire)
		require.EqualValues(t, len(frames), s.Received)
		require.Empty(t, s.Bad)
		require.EqualValues(t, 2, by(s.BadReceived, "CRCERRS"))
		require.EqualValues(t, 2, by(s.BadReceived, "ERRBC"))
		require.EqualValues(t, 2, by(s.BadReceived, "RUC"))
	}
}
