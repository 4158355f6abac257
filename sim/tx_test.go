package sim

import (
	"encoding/binary"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"
)

// txRing is a transmit ring of the driver.
type txRing struct {
	r    *rig
	ring uint64
	buf  uint64
	tail uint32
}

func (r *rig) tx() *txRing {
	x := &txRing{r: r, ring: testBase + 0x100000, buf: testBase + 0x600000}
	r.write(rDMATXCTL, r.read(rDMATXCTL)|1)
	r.write(txReg(0, qBAL), uint32(x.ring))
	r.write(txReg(0, qLEN), 64*16)
	r.write(txReg(0, qDCTL), 1<<25)
	require.NotZero(r, r.read(txReg(0, qDCTL))&(1<<25))
	return x
}

func (x *txRing) put(lo, hi uint64) {
	d := x.r.h.at(x.ring+uint64(x.tail)*16, 16)
	binary.LittleEndian.PutUint64(d, lo)
	binary.LittleEndian.PutUint64(d[8:], hi)
	x.tail = (x.tail + 1) % 64
}

func (x *txRing) data(p []byte, flags uint64) {
	copy(x.r.h.at(x.buf, len(p)), p)
	x.put(x.buf, uint64(len(p))|flags)
	x.buf += uint64(len(p)+63) &^ 63
}

func (x *txRing) send() {
	x.r.write(txReg(0, qTAIL), x.tail)
	x.r.run()
}

const advanced = 3<<20 | tdDEXT | tdIFCS | tdEOP | tdRS

func TestTransmitAdvanced(t *testing.T) {
	r := newRig(t, Config{})
	x := r.tx()
	a, b := plain(100), plain(30)
	x.data(a[:40], 3<<20|tdDEXT|tdIFCS|100<<46)
	x.data(a[40:], advanced)
	x.data(b, advanced)
	x.send()
	require.Equal(t, [][]byte{a, append(b, make([]byte, 30)...)}, r.w.sent)
	require.EqualValues(t, 3, r.read(txReg(0, qHEAD)))
	require.Zero(t, binary.LittleEndian.Uint64(r.h.at(x.ring+8, 8))&tdDD, "no RS, no write-back")
	require.NotZero(t, binary.LittleEndian.Uint64(r.h.at(x.ring+24, 8))&tdDD)
	require.EqualValues(t, 2, r.read(cGPTC))
	require.EqualValues(t, 168, r.read(cGOTC))
	require.EqualValues(t, 1, r.read(cPTC64))
	require.EqualValues(t, 2, r.read(0x8680))
	require.EqualValues(t, 160, r.read(cQBTC(0)))
}

func TestTransmitLegacy(t *testing.T) {
	r := newRig(t, Config{})
	x := r.tx()
	x.data(plain(80), tdEOP|tdIFCS|tdRS|tdVLE|0x123<<48)
	x.send()
	require.Equal(t, [][]byte{tagged(plain(80), 0x123)}, r.w.sent)
}

func TestTagIsInsertedBehindTheOuterOne(t *testing.T) {
	const double = 1 << 3 // GDV
	for _, c := range []struct {
		name  string
		gdv   uint32
		outer string
		at    int
	}{
		{"outer tag", double, "\x88\xa8\x00\x07", 16},
		{"another EtherType", double, "\x91\x00\x00\x07", 12},
		{"GDV clear", 0, "\x88\xa8\x00\x07", 12},
	} {
		r := newRig(t, Config{})
		r.write(rEXVET, 0x88a80000)
		x := r.tx()
		r.write(rDMATXCTL, r.read(rDMATXCTL)|c.gdv)
		f := plain(80)
		copy(f[12:], c.outer)
		x.data(f, tdEOP|tdIFCS|tdRS|tdVLE|0x123<<48)
		x.send()
		want := append(append(append([]byte(nil), f[:c.at]...), 0x81, 0x00, 0x01, 0x23), f[c.at:]...)
		require.Equal(t, [][]byte{want}, r.w.sent, c.name)
	}
}

func TestTransmitChecksums(t *testing.T) {
	for _, want := range [][]byte{
		udp4("10.0.0.1", "10.0.0.2", 1, 2, 100),
		tcp4("10.0.0.1", "10.0.0.2", 1, 2, 101),
	} {
		r := newRig(t, Config{})
		x := r.tx()
		f := append([]byte(nil), want...)
		at, kind := 40, uint64(0)
		if f[23] == 6 {
			at, kind = 50, 1<<11
		}
		// The driver sets the IP checksum to zero and the transport's to the sum of
		// the pseudo header.
		copy(f[24:26], []byte{0, 0})
		s := sum(f[26:34]) + uint64(f[23])<<8
		binary.LittleEndian.PutUint16(f[at:], fold(s+uint64((len(f)-34)>>8|(len(f)-34)&0xff<<8)))
		x.put(14<<9|20, 2<<20|tdDEXT|1<<10|kind)
		x.data(f, advanced|tdIXSM|tdTXSM|1<<39|uint64(len(f))<<46)
		x.send()
		require.Equal(t, [][]byte{want}, r.w.sent)
	}
}

// A UDP packet can end before the offset of the TCP flags.
func TestSegmentationOfAShortUDPPacket(t *testing.T) {
	r := newRig(t, Config{})
	x := r.tx()
	f := udp4("10.0.0.1", "10.0.0.2", 1, 2, 1)[:14+20+8+1]
	x.put(14<<9|20, 2<<20|tdDEXT|1<<10|8<<40|1460<<48)
	x.data(f, advanced|tdTSE|tdIXSM|tdTXSM|1<<46)
	x.send()
	require.Len(t, r.w.sent, 1)
	require.Equal(t, f[:24], r.w.sent[0][:24])
	require.Equal(t, f[42], r.w.sent[0][42])
}

func TestTransmitSegmentation(t *testing.T) {
	r := newRig(t, Config{})
	x := r.tx()
	payload := pattern(3000)
	ip4 := &layers.IPv4{Version: 4, TTL: 9, Id: 77, Protocol: layers.IPProtocolTCP, SrcIP: ip("10.0.0.1"), DstIP: ip("10.0.0.2")}
	tcp := &layers.TCP{SrcPort: 5, DstPort: 6, Seq: 1000, PSH: true, FIN: true, ACK: true}
	_ = tcp.SetNetworkLayerForChecksum(ip4)
	f := serialize(ethernet(layers.EthernetTypeIPv4), ip4, tcp, gopacket.Payload(payload))
	x.put(7<<16|14<<9|20, 2<<20|tdDEXT|1<<10|1<<11|20<<40|1460<<48)
	x.data(f, advanced|tdTSE|tdVLE|tdIXSM|tdTXSM|3000<<46)
	x.send()
	require.Len(t, r.w.sent, 3)
	var got []byte
	for i, s := range r.w.sent {
		p := gopacket.NewPacket(s, layers.LayerTypeEthernet, gopacket.Default)
		require.EqualValues(t, 7, p.Layer(layers.LayerTypeDot1Q).(*layers.Dot1Q).VLANIdentifier)
		h := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		require.EqualValues(t, 77+i, h.Id)
		l4 := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
		require.EqualValues(t, 1000+1460*i, l4.Seq)
		require.Equal(t, i == 2, l4.FIN)
		require.Equal(t, i == 2, l4.PSH)
		got = append(got, l4.Payload...)

		// The checksums are right for the model's receive side and for gopacket.
		require.EqualValues(t, 0xffff, fold(sum(s[18:38])))
		_ = l4.SetNetworkLayerForChecksum(h)
		bad, mismatch := p.VerifyChecksums()
		require.NoError(t, bad)
		require.Empty(t, mismatch)
	}
	require.Equal(t, payload, got)
}

func TestHeadWriteBack(t *testing.T) {
	r := newRig(t, Config{})
	x := r.tx()
	wb := uint64(testBase + 0x700000)
	r.write(txReg(0, qWBAL), uint32(wb)|1)
	x.data(plain(60), advanced)
	x.data(plain(60), advanced)
	x.send()
	require.EqualValues(t, 2, binary.LittleEndian.Uint32(r.h.at(wb, 4)))
	require.Zero(t, binary.LittleEndian.Uint64(r.h.at(x.ring+8, 8))&tdDD)
}

func TestBusyWireDelaysFrames(t *testing.T) {
	r := newRig(t, Config{})
	x := r.tx()
	r.w.busy = true
	x.data(plain(60), advanced)
	x.send()
	require.Empty(t, r.w.sent)
	r.w.busy = false
	r.run()
	require.Len(t, r.w.sent, 1)
}

func TestLoopback(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	r.write(rHLREG0, r.read(rHLREG0)|1<<15)
	rx := r.rx(0, 8, 2048)
	x := r.tx()
	x.data(plain(77), advanced)
	x.send()
	require.Empty(t, r.w.sent)
	g, ok := rx.pop()
	require.True(t, ok)
	require.Equal(t, plain(77), g.data)
}

func TestTransmitFromUnmappedBuffer(t *testing.T) {
	r := newRig(t, Config{})
	x := r.tx()
	x.put(0xdead0000, 100|advanced)
	x.data(plain(60), advanced)
	x.send()
	require.Len(t, r.w.sent, 1)
	require.NotZero(t, r.Stats().Faults)
	require.EqualValues(t, 2, r.read(txReg(0, qHEAD)))
}

func TestQueuesNeedTheTransmitUnit(t *testing.T) {
	r := newRig(t, Config{})
	r.write(txReg(0, qLEN), 1024)
	r.write(txReg(0, qDCTL), 1<<25)
	require.Zero(t, r.read(txReg(0, qDCTL))&(1<<25))
	require.NotZero(t, r.Stats().Faults)
}

// iPXE's intelx sets TXDCTL[0].ENABLE before DMATXCTL.TE and does not read it back.
func TestTransmitEnableEnablesQueue0(t *testing.T) {
	r := newRig(t, Config{})
	x := &txRing{r: r, ring: testBase + 0x100000, buf: testBase + 0x600000}
	r.write(txReg(0, qBAL), uint32(x.ring))
	r.write(txReg(0, qLEN), 64*16)
	r.write(txReg(0, qDCTL), 1<<25)
	require.Zero(t, r.read(txReg(0, qDCTL))&(1<<25))
	r.write(rDMATXCTL, r.read(rDMATXCTL)|1)
	require.NotZero(t, r.read(txReg(0, qDCTL))&(1<<25), "enabled with TE")
	require.Zero(t, r.read(txReg(1, qDCTL))&(1<<25), "queue 0 only")
	x.data(plain(80), tdEOP|tdIFCS|tdRS)
	x.send()
	require.Equal(t, [][]byte{plain(80)}, r.w.sent)

	r.write(txReg(0, qDCTL), 0)
	r.write(rDMATXCTL, r.read(rDMATXCTL)|1)
	require.Zero(t, r.read(txReg(0, qDCTL))&(1<<25), "TE was set already")
}

// A driver may start the transmit unit for another queue, and give queue 0 a ring
// later.
func TestQueue0GetsItsRingAfterTransmitEnable(t *testing.T) {
	r := newRig(t, Config{})
	r.write(rDMATXCTL, r.read(rDMATXCTL)|1)
	x := r.tx()
	x.data(plain(80), tdEOP|tdIFCS|tdRS)
	x.send()
	require.Equal(t, [][]byte{plain(80)}, r.w.sent)
	require.Zero(t, r.Stats().Faults, r.Stats().LastFault)
}

func TestEnabledTransmitQueueWithoutRing(t *testing.T) {
	r := newRig(t, Config{})
	r.write(rDMATXCTL, r.read(rDMATXCTL)|1)
	r.run()
	require.Zero(t, r.Stats().Faults)
	r.write(txReg(0, qDCTL), 1<<25)
	require.EqualValues(t, 1, r.Stats().Faults)
	require.Equal(t, "TXDCTL[0].ENABLE with TDLEN 0", r.Stats().LastFault)
}

func TestBuffersClearDropsPendingFrames(t *testing.T) {
	r := newRig(t, Config{})
	x := r.tx()
	r.w.busy = true
	x.data(plain(60), advanced)
	x.send()
	r.write(rGCREXT, 1<<30)
	r.w.busy = false
	r.run()
	require.Empty(t, r.w.sent)
}

func TestSegmentationKeepsFewFreeBuffers(t *testing.T) {
	r := newRig(t, Config{})
	x := r.tx()
	f := make([]byte, 54+3*txOutMax)
	copy(f[12:], []byte{8, 0, 0x45})
	x.put(14<<9|20, 2<<20|tdDEXT|1<<10|1<<11|20<<40|1<<48) // MSS 1
	x.data(f, advanced|tdTSE|uint64(len(f)-54)<<46)
	x.send()
	require.Len(t, r.w.sent, 3*txOutMax)
	require.LessOrEqual(t, len(r.NIC.tx.spare), txOutMax)
}
