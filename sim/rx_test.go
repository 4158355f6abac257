package sim

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFramesArriveCompleteAndInOrder(t *testing.T) {
	for _, slow := range []bool{false, true} {
		t.Run(fmt.Sprintf("messages=%v", slow), func(t *testing.T) {
			r := newRig(t, Config{})
			r.h.slow = slow
			r.promiscuous()
			x := r.rx(0, 64, 2048)
			var sent [][]byte
			for _, size := range []int{60, 61, 64, 100, 1000, 1514} {
				sent = append(sent, plain(size))
			}
			r.w.push(sent...)
			r.run()
			all := x.all()
			require.Len(t, all, len(sent))
			for i, g := range all {
				require.Equal(t, sent[i], g.data)
				require.Equal(t, uint32(stDD|stEOP|stPIF), g.status())
			}
			require.EqualValues(t, len(sent), r.read(rxReg(0, qHEAD)))
		})
	}
}

func TestRuntsArePaddedByTheSender(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	x := r.rx(0, 8, 2048)
	r.w.push(plain(1514), plain(20))
	r.run()
	all := x.all()
	require.Equal(t, append(plain(20), make([]byte, 40)...), all[1].data)
}

func TestWithoutStrippingTheCRCArrives(t *testing.T) {
	r := newRig(t, Config{})
	r.write(rFCTRL, 1<<9)
	r.write(rHLREG0, r.read(rHLREG0)&^2)
	x := r.rx(0, 8, 2048)
	r.w.push(plain(70))
	r.run()
	g, ok := x.pop()
	require.True(t, ok)
	require.Equal(t, plain(70), g.data[:70])
	require.Equal(t, crc32.ChecksumIEEE(plain(70)), binary.LittleEndian.Uint32(g.data[70:]))
}

func TestFrameOverSeveralDescriptors(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	r.write(rHLREG0, r.read(rHLREG0)|4)
	r.write(rMAXFRS, 15872<<16)
	x := r.rx(0, 8, 1024)
	want := plain(9014)
	r.w.push(want)
	r.run()
	require.Zero(t, r.Stats().Delivered, "seven descriptors of 1 KiB are not enough")
	require.EqualValues(t, 7, r.read(rxReg(0, qHEAD)))

	// The driver posts descriptors while the frame is being written.
	var data []byte
	for i := range 7 {
		require.EqualValues(t, 1024<<32|1, binary.LittleEndian.Uint64(x.desc(i)[8:]), "only DD and the length before the last")
		data = append(data, r.h.at(x.buf+uint64(i*1024), 1024)...)
		x.post(i)
	}
	x.next = 7
	x.refill()
	r.run()
	g, ok := x.pop()
	require.True(t, ok)
	require.Equal(t, want, append(data, g.data...))
	require.EqualValues(t, 1, r.Stats().Delivered)
}

func TestWithoutDescriptorsThePacketBufferFillsAndThenFramesAreMissed(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	r.write(rRXPBSIZE, 64<<10)
	x := r.rx(0, 8, 2048)
	for range 2000 {
		r.w.push(plain(60))
	}
	r.run()
	s := r.Stats()
	require.EqualValues(t, 7, s.Delivered)
	require.EqualValues(t, 64<<10/60, s.Buffered)
	require.EqualValues(t, 2000-7-64<<10/60, s.Missed)
	require.EqualValues(t, s.Missed, r.read(cRXMPC))
	require.Zero(t, r.read(cRXMPC), "reading clears")
	require.EqualValues(t, 2000, r.read(cGPRC), "missed frames count as good")

	total := len(x.all())
	for r.Stats().Buffered > 0 {
		x.refill()
		r.run()
		total += len(x.all())
	}
	require.EqualValues(t, 7+64<<10/60, total)
}

func TestDropEnableDropsInsteadOfBlocking(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	r.write(rMRQC, 1|mrqcUDP4)
	for i := range uint32(32) {
		r.write(rRETA+4*i, 0x01000100)
	}
	for i := range uint32(10) {
		r.write(rRSSRK+4*i, 0x5bda56a5*(i+1))
	}
	full := r.rx(0, 8, 2048)
	other := r.rx(1, 512, 2048)
	r.write(rxReg(0, qSRR), r.read(rxReg(0, qSRR))|1<<28)
	r.write(rRQSMR, 0x0302)
	for i := range 200 {
		r.w.push(udp4("10.0.0.1", "10.0.0.2", uint16(1000+i), 53, 30))
	}
	r.run()
	s := r.Stats()
	require.Len(t, full.all(), 7)
	n := len(other.all())
	require.EqualValues(t, 200, uint64(7+n)+s.NoDescriptor)
	require.EqualValues(t, s.NoDescriptor, r.read(cQPRDC(2)))
	require.EqualValues(t, 7, r.read(cQPRC(2)))
	require.EqualValues(t, n, r.read(cQPRC(3)))
	require.Zero(t, s.Buffered)
}

func TestFramesForADisabledQueueAreDropped(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	r.write(rRXCTRL, 1)
	r.w.push(plain(60))
	r.run()
	require.EqualValues(t, 1, r.Stats().QueueDisabled)
	require.EqualValues(t, 1, r.read(cQPRDC(0)))
}

func TestDisablingAQueueDropsItsBufferedFrames(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	r.rx(0, 8, 2048)
	for range 20 {
		r.w.push(plain(60))
	}
	r.run()
	r.write(rxReg(0, qDCTL), 0)
	require.Zero(t, r.read(rxReg(0, qDCTL))&(1<<25))
	r.run()
	s := r.Stats()
	require.EqualValues(t, 7, s.Delivered)
	require.EqualValues(t, 13, s.QueueDisabled)
}

func TestFilters(t *testing.T) {
	station := plain(60)
	copy(station, "\x02\x00\x00\x00\x00\x07")
	broadcast := plain(60)
	copy(broadcast, "\xff\xff\xff\xff\xff\xff")
	multicast := plain(60)
	copy(multicast, "\x01\x00\x5e\x01\x02\x03")
	unknown := plain(60)
	pause := plain(60)
	copy(pause, "\x01\x80\xc2\x00\x00\x01")
	copy(pause[12:], "\x88\x08\x00\x01\x12\x34")

	for _, c := range []struct {
		name  string
		set   func(r *rig)
		frame []byte
		pass  bool
		pif   bool
	}{
		{"station address from the EEPROM", nil, station, true, false},
		{"unknown address", nil, unknown, false, false},
		{"unknown address, UPE", func(r *rig) { r.write(rFCTRL, 1<<9) }, unknown, true, true},
		{"multicast with UPE only", func(r *rig) { r.write(rFCTRL, 1<<9) }, multicast, false, false},
		{"multicast, MPE", func(r *rig) { r.write(rFCTRL, 1<<8) }, multicast, true, true},
		{"broadcast by default", nil, broadcast, false, false},
		{"broadcast, BAM", func(r *rig) { r.write(rFCTRL, 1<<10) }, broadcast, true, false},
		{"broadcast, MPE", func(r *rig) { r.write(rFCTRL, 1<<8) }, broadcast, true, false},
		{"second address, written at the old offset", func(r *rig) {
			r.write(0x5408, 0x00000002)
			r.write(0x540c, 0x8000bb00)
		}, unknown, true, false},
		{"multicast hash without MFE", func(r *rig) { r.write(rMTA+4*(0x302>>5), 1<<(0x302&31)) }, multicast, false, false},
		{"multicast hash", func(r *rig) {
			h := uint32(0x0302) >> 4 & 0xfff // bits 47:36 of the address
			r.write(rMTA+4*(h>>5), 1<<(h&31))
			r.write(rMCSTCTRL, 4)
		}, multicast, true, true},
		{"VLAN not in the table", func(r *rig) { r.write(rVLNCTRL, 0x40008100) }, tagged(station, 5), false, false},
		{"VLAN in the table", func(r *rig) {
			r.write(rVLNCTRL, 0x40008100)
			r.write(rVFTA, 1<<5)
		}, tagged(station, 5), true, false},
		{"no tag with the VLAN filter on", func(r *rig) { r.write(rVLNCTRL, 0x40008100) }, station, true, false},
		{"pause frame, flow control off", func(r *rig) { r.write(rFCTRL, 1<<8) }, pause, true, true},
		{"pause frame, RFCE and DPF", func(r *rig) {
			r.write(rFCTRL, 1<<8)
			r.write(rMFLCN, 1<<3|1<<1)
		}, pause, false, false},
		{"too long", func(r *rig) { r.write(rFCTRL, 1<<9) }, plain(1515), false, false},
		{"as long as a tag allows", func(r *rig) { r.write(rFCTRL, 1<<9) }, tagged(plain(1514), 1), true, true},
		{"MAXFRS without JUMBOEN", func(r *rig) {
			r.write(rFCTRL, 1<<9)
			r.write(rMAXFRS, 9000<<16)
		}, plain(2000), false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, Config{MAC: [6]byte{2, 0, 0, 0, 0, 7}})
			if c.set != nil {
				c.set(r)
			}
			x := r.rx(0, 16, 2048)
			r.w.push(c.frame)
			r.run()
			g, ok := x.pop()
			require.Equal(t, c.pass, ok)
			if ok {
				require.Equal(t, c.pif, g.status()&stPIF != 0)
			}
		})
	}
}

func TestVLANIsStrippedAndReported(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	x := r.rx(0, 8, 2048)
	frame := udp4("10.0.0.1", "10.0.0.2", 1, 2, 40)
	r.w.push(tagged(frame, 0x6123))
	r.run()
	g, _ := x.pop()
	require.Equal(t, tagged(frame, 0x6123), g.data)
	require.NotZero(t, g.status()&stVP)

	r.write(rxReg(0, qDCTL), 1<<25|1<<30)
	r.w.push(tagged(frame, 0x6123))
	r.run()
	g, _ = x.pop()
	require.Equal(t, frame, g.data)
	require.EqualValues(t, 0x6123, g.vlan())
	require.EqualValues(t, stDD|stEOP|stVP|stPIF|stIPCS|stL4CS|stUDPCS, g.status())
	require.EqualValues(t, ptIP4|ptUDP, g.lo>>4&0x1fff)
}

func TestNothingIsCountedWhileReceptionIsOff(t *testing.T) {
	r := newRig(t, Config{StartAtLinkUp: true})
	r.promiscuous()
	x := r.rx(0, 8, 2048)
	r.write(rRXCTRL, 0)
	r.w.push(plain(60))
	r.run()
	require.EqualValues(t, 1, r.Stats().NotReceiving)
	require.Zero(t, r.read(cTPR))
	require.Empty(t, x.all())
}

func TestWireIsReadOnceReceptionIsEnabled(t *testing.T) {
	r := newRig(t, Config{})
	r.w.push(plain(60))
	r.run()
	require.Zero(t, r.Stats().Offered)
	r.promiscuous()
	r.rx(0, 8, 2048)
	r.w.end()
	r.run()
	require.EqualValues(t, 1, r.Stats().Delivered)
	select {
	case <-r.Ended():
	default:
		t.Fatal("the wire has ended, Ended is open")
	}
}

func TestCounters(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	r.rx(0, 256, 2048)
	octets := uint64(0)
	for _, size := range []int{60, 61, 123, 124, 251, 252, 507, 508, 1019, 1020, 1514} {
		r.w.push(plain(size))
		octets += uint64(size)
	}
	bc := plain(60)
	copy(bc, "\xff\xff\xff\xff\xff\xff")
	mc := plain(60)
	mc[0] = 1
	r.w.push(bc, mc, mc)
	octets += 180
	r.run()
	for i, want := range []uint32{4, 2, 2, 2, 2, 2} {
		require.Equal(t, want, r.read(cPRC64+4*uint32(i)), "size bin %d", i)
	}
	require.EqualValues(t, 14, r.read(cGPRC))
	require.EqualValues(t, 14, r.read(cTPR))
	require.EqualValues(t, 1, r.read(cBPRC))
	require.EqualValues(t, 2, r.read(cMPRC))
	require.EqualValues(t, octets, r.read(cGORC))
	require.EqualValues(t, octets+14*4, r.read(cTOR))
	require.Zero(t, r.read(cGORC+4))
	require.Zero(t, r.read(cGORC))
	require.EqualValues(t, 14, r.read(cQPRC(0)))
	require.EqualValues(t, octets, r.read(cQBRC(0)))
	require.EqualValues(t, octets, r.read(cQBRC(0)), "cleared by the high word only")
	require.Zero(t, r.read(cQBRC(0)+4))
	require.Zero(t, r.read(cQBRC(0)))
}
