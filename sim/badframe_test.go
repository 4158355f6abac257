package sim

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/sim/wire"
)

// llc is a frame of n bytes with a length field.
func llc(n, field int) []byte {
	f := plain(n)
	binary.BigEndian.PutUint16(f[12:], uint16(field))
	return f
}

// badFrame is a frame that the MAC refuses, and the register that counts it.
type badFrame struct {
	name     string
	register uint32
	damage   wire.Damage
	data     []byte
}

func badFrames() []badFrame {
	return []badFrame{
		{"wrong CRC", cCRCERRS, wire.BadCRC, plain(60)},
		{"error byte", cERRBC, wire.ErrorByte, plain(100)},
		{"illegal byte", cILLERRC, wire.IllegalByte, plain(100)},
		{"error byte and wrong CRC", cERRBC, wire.ErrorByte | wire.BadCRC, plain(100)},
		{"undersize", cRUC, wire.Unpadded, plain(59)},
		{"fragment", cRFC, wire.Unpadded | wire.BadCRC, plain(60)[:20]},
		{"shortest fragment", cRFC, wire.Unpadded | wire.BadCRC, plain(60)[:1]},
		{"oversize", cROC, 0, plain(1515)},
		{"oversize behind a tag", cROC, 0, tagged(plain(1515), 7)},
		{"jabber", cRJC, wire.BadCRC, plain(2000)},
		{"length field above the length", cRLEC, 0, llc(60, 47)},
		{"length field below the length", cRLEC, 0, llc(61, 46)},
		{"length field behind a tag", cRLEC, 0, tagged(llc(70, 46), 7)},
	}
}

func TestBadFramesAreCountedOnceByTheirFirstError(t *testing.T) {
	for _, b := range badFrames() {
		t.Run(b.name, func(t *testing.T) {
			r := newRig(t, Config{})
			r.promiscuous()
			x := r.rx(0, 16, 2048)
			r.w.pushBad(b.damage, b.data)
			r.run()
			require.Empty(t, x.all())
			require.EqualValues(t, 1, r.read(b.register))
			for _, other := range badFrames() {
				require.Zero(t, r.read(other.register), other.name)
			}
			require.Zero(t, r.read(cGPRC))
			require.Zero(t, r.read(cRXNFGPC))
			require.EqualValues(t, 1, r.read(cTPR), "all frames")
			require.EqualValues(t, len(b.data)+4, r.read(cTOR))
		})
	}
}

func TestFramesWithALengthFieldAreGoodIfItIsRight(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	x := r.rx(0, 16, 2048)
	r.w.push(llc(60, 46), llc(60, 3), llc(100, 86), tagged(llc(60, 46), 7))
	r.run()
	require.Len(t, x.all(), 4)
	r.write(rHLREG0, r.read(rHLREG0)&^(1<<27))
	r.w.push(llc(60, 47), llc(100, 3))
	r.run()
	require.Len(t, x.all(), 2, "without RXLNGTHERREN the field does not matter")
	require.Zero(t, r.read(cRLEC))
}

func TestStoreBadPacketsStoresThemWithTheirErrorAndCRC(t *testing.T) {
	for _, b := range badFrames() {
		t.Run(b.name, func(t *testing.T) {
			r := newRig(t, Config{})
			r.promiscuous()
			r.write(rFCTRL, 1<<1|1<<8|1<<9|1<<10)
			r.write(rHLREG0, r.read(rHLREG0)&^2)
			r.write(rRDRXCTL, r.read(rRDRXCTL)&^2)
			x := r.rx(0, 16, 4096)
			r.w.pushBad(b.damage, b.data)
			r.run()
			g, ok := x.pop()
			require.True(t, ok)
			crc := crc32.ChecksumIEEE(b.data)
			if b.damage&wire.BadCRC != 0 {
				crc = badCRC
			}
			require.Equal(t, binary.LittleEndian.AppendUint32(append([]byte(nil), b.data...), crc), g.data)
			require.NotZero(t, g.status()&errRXE)
			require.EqualValues(t, 1, r.read(b.register))
			require.Zero(t, r.read(cGPRC), "it is still no good frame")
			require.EqualValues(t, 1, r.read(cQPRC(0)))
			require.Zero(t, r.Stats().Faults)
		})
	}
}

func TestStoreBadPacketsObeysTheFilters(t *testing.T) {
	r := newRig(t, Config{})
	r.write(rFCTRL, 1<<1)
	x := r.rx(0, 16, 2048)
	r.w.pushBad(wire.BadCRC, plain(60))
	r.run()
	require.Empty(t, x.all())
	require.EqualValues(t, 1, r.Stats().Filtered)
	require.EqualValues(t, 1, r.read(cCRCERRS), "the MAC counts before the filters")
}

func TestChecksumErrorsAndFlowControlAreCounted(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	r.write(rMFLCN, 1<<3|1<<1) // receive flow control, discard pause frames
	r.rx(0, 16, 2048)
	ip, l4 := udp4("10.0.0.1", "10.0.0.2", 1, 2, 40), udp4("10.0.0.1", "10.0.0.2", 1, 2, 40)
	ip[24]++
	l4[50]++
	pause := plain(60)
	copy(pause[12:], "\x88\x08\x00\x01\x12\x34")
	r.w.push(ip, l4, udp4("10.0.0.1", "10.0.0.2", 1, 2, 40), pause)
	r.w.pushBad(wire.BadCRC, ip)
	r.run()
	require.EqualValues(t, 2, r.read(cXEC), "not of frames with MAC errors")
	require.EqualValues(t, 1, r.read(cLXOFFRX))
	require.EqualValues(t, 4, r.read(cTPR), "without flow control")
}
