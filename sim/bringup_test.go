package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// These tests follow the initialization of Linux ixgbe and DPDK, with waits no
// longer than theirs.

func (r *rig) word(addr uint32) uint16 {
	r.write(rEERD, addr<<2|1)
	v := r.read(rEERD)
	require.NotZero(r, v&2, "EERD.DONE")
	return uint16(v >> 16)
}

func TestEEPROMChecksumAndFirmware(t *testing.T) {
	r := newRig(t, Config{MAC: [6]byte{2, 1, 2, 3, 4, 5}})
	eec := r.read(rEEC)
	require.NotZero(t, eec&(1<<8), "EEPROM present")
	require.NotZero(t, eec&(1<<9), "auto-read done")
	require.EqualValues(t, eeWords, 1<<(eec>>11&0xf+6))

	var sum uint16
	for i := range uint32(0x40) {
		sum += r.word(i)
	}
	for p := uint32(3); p < 0xf; p++ {
		ptr := r.word(p)
		if ptr == 0 || ptr == 0xffff {
			continue
		}
		n := r.word(uint32(ptr))
		require.NotZero(t, n)
		for k := range uint32(n) {
			sum += r.word(uint32(ptr) + 1 + k)
		}
	}
	require.EqualValues(t, 0xbaba, sum)

	fw := uint32(r.word(0x0f))
	require.Equal(t, uint16(0xffff), r.word(fw+2), "no LESM")
	require.Greater(t, r.word(uint32(r.word(fw+4))+7), uint16(5), "firmware version")
	require.NotZero(t, r.word(0x2c)&1, "any SFP+ allowed")
	require.EqualValues(t, 0xffff, r.word(0x3fff), "beyond the end")

	require.EqualValues(t, 0x03020102, r.read(rRAL))
	require.EqualValues(t, 0x80000504, r.read(rRAL+4))
}

// i2cMaster clocks the bus through I2CCTL, as drivers do.
type i2cMaster struct{ *rig }

func (m i2cMaster) set(scl, sda bool) {
	var v uint32
	if scl {
		v |= 2
	}
	if sda {
		v |= 8
	}
	m.write(0x28, v)
}

func (m i2cMaster) start() {
	m.set(false, true)
	m.set(true, true)
	m.set(true, false)
	m.set(false, false)
}
func (m i2cMaster) stop() { m.set(false, false); m.set(true, false); m.set(true, true) }

func (m i2cMaster) bitOut(b bool) { m.set(false, b); m.set(true, b); m.set(false, b) }

func (m i2cMaster) bitIn() bool {
	m.set(false, true)
	m.set(true, true)
	require.NotZero(m, m.read(0x28)&1, "clock is high")
	b := m.read(0x28)&4 != 0
	m.set(false, true)
	return b
}

func (m i2cMaster) byteOut(v byte) (ack bool) {
	for i := range 8 {
		m.bitOut(v>>(7-i)&1 != 0)
	}
	return !m.bitIn()
}

func (m i2cMaster) byteIn(more bool) (v byte) {
	for range 8 {
		v <<= 1
		if m.bitIn() {
			v |= 1
		}
	}
	m.bitOut(!more)
	return v
}

func TestModuleIsIdentifiedOverI2C(t *testing.T) {
	for module, want := range map[Module][3]byte{ModuleSR: {0x10, 0, 0}, ModuleLR: {0x20, 0, 0}, ModuleDA: {0, 0, 4}, ModuleSX: {0, 1, 0}} {
		r := newRig(t, Config{Module: module})
		m := i2cMaster{r}
		at := func(off byte) byte {
			m.start()
			require.True(t, m.byteOut(0xa0))
			require.True(t, m.byteOut(off))
			m.start()
			require.True(t, m.byteOut(0xa1))
			v := m.byteIn(false)
			m.stop()
			return v
		}
		require.EqualValues(t, 3, at(0), "SFP")
		require.Equal(t, want, [3]byte{at(3), at(6), at(8)})
		require.Equal(t, []byte{0x00, 0x1b, 0x21}, []byte{at(0x25), at(0x26), at(0x27)})

		m.start()
		require.True(t, m.byteOut(0xa0))
		require.True(t, m.byteOut(20))
		m.start()
		require.True(t, m.byteOut(0xa1))
		var name []byte
		for i := range 5 {
			name = append(name, m.byteIn(i < 4))
		}
		m.stop()
		require.Equal(t, "ixcap", string(name), "sequential read")
		require.NotZero(t, r.read(rESDP)&4, "module present")

		m.start()
		require.False(t, m.byteOut(0x50), "no slave at this address")
		m.stop()

		list := uint32(r.word(0x2b)) + 1
		for r.word(list) != 5 {
			require.NotEqual(t, uint16(0xffff), r.word(list))
			list += 2
		}
		data := uint32(r.word(list + 1))
		require.NotContains(t, []uint16{0, 0xffff}, uint16(data))
	}
	r := newRig(t, Config{Module: NoModule})
	m := i2cMaster{r}
	m.start()
	require.False(t, m.byteOut(0xa0))
	require.Zero(t, r.read(rESDP)&4)
}

func TestSemaphores(t *testing.T) {
	r := newRig(t, Config{})
	require.Zero(t, r.read(0x10140)&1, "SMBI is free, and then owned")
	require.NotZero(t, r.read(0x10140)&1)
	r.write(0x10140, r.read(0x10140)|2)
	require.NotZero(t, r.read(0x10140)&2, "SWESMBI")
	r.write(0x10160, 8)
	require.EqualValues(t, 8, r.read(0x10160))
	r.write(0x10140, 0)
	require.Zero(t, r.read(0x10140))
}

func TestNoPHYAnswersOnMDIO(t *testing.T) {
	r := newRig(t, Config{})
	r.write(0x425c, 1<<30|3<<26|1<<16)
	require.Zero(t, r.read(0x425c)&(1<<30))
	require.EqualValues(t, 0xffff, r.read(0x4260)>>16)
}

func TestReset(t *testing.T) {
	for name, bit := range map[string]uint32{"software": 1 << 26, "link": 1 << 3} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{})
			r.rx(0, 8, 2048)
			r.write(rFCTRL, 0x700)
			r.add(cGPRC, 5)
			r.write(rCTRL, 4)
			require.Zero(t, r.read(rSTATUS)&(1<<19), "master requests are blocked")
			r.write(rCTRL, r.read(rCTRL)|bit)
			require.Eventually(t, func() bool { return r.read(rCTRL)&(1<<26|1<<3) == 0 }, 30*time.Second, time.Microsecond)
			require.NotZero(t, r.read(rSTATUS)&(1<<19))
			require.Zero(t, r.read(rFCTRL))
			require.Zero(t, r.read(rxReg(0, qDCTL)))
			require.Zero(t, r.read(rxReg(0, qTAIL)))
			require.Zero(t, r.read(cGPRC))
			require.EqualValues(t, 0x402, r.read(0x2100))
			require.NotZero(t, r.read(rRAL+4)>>31)
			require.Eventually(t, func() bool { return r.read(rEEC)&(1<<9) != 0 && r.read(rRDRXCTL)&8 != 0 }, 30*time.Second, 100*time.Microsecond)
		})
	}
}

func TestLinkComesUpAfterRestart(t *testing.T) {
	r := newRig(t, Config{LinkDelay: 300 * time.Millisecond})
	r.run()
	require.EqualValues(t, 3<<28|1<<30, r.read(0x42a4)&(3<<28|1<<30))
	autoc := r.read(rAUTOC) | 1<<12
	r.write(rAUTOC, autoc^4<<13) // as ixgbe_reset_pipeline_82599
	require.Zero(t, r.read(rAUTOC)&(1<<12), "Restart_AN clears itself")
	require.Eventually(t, func() bool { return r.read(0x42b0)&0xf0000 != 0 }, 30*time.Second, time.Millisecond)
	r.write(rAUTOC, autoc)
	r.run()
	require.Zero(t, r.read(0x42a4)&(1<<30))
	require.Eventually(t, func() bool { r.run(); return r.read(0x42a4)&(1<<30) != 0 }, 30*time.Second, time.Millisecond)
	require.NotZero(t, r.read(0x808)&eicrLSC, "link status change")
	require.NotZero(t, r.read(rSTATUS)&(1<<7))

	r.write(rESDP, 0x808) // laser off
	time.Sleep(2 * time.Millisecond)
	r.run()
	require.Zero(t, r.read(0x42a4)&(1<<30))
}

func TestNoLinkWithoutModuleOrWire(t *testing.T) {
	r := newRig(t, Config{Module: NoModule, LinkDelay: time.Millisecond})
	r.run()
	require.Zero(t, r.read(0x42a4)&(1<<30))
	r = newRig(t, Config{LinkDelay: time.Millisecond})
	r.w.down = true
	r.run()
	require.Zero(t, r.read(0x42a4)&(1<<30))
	require.Zero(t, r.read(0x42a4)&0xf00, "no signal")
}

func TestGigabitModuleNeedsGigabitMode(t *testing.T) {
	r := newRig(t, Config{Module: ModuleSX, LinkDelay: time.Millisecond})
	r.run()
	require.Zero(t, r.read(0x42a4)&(1<<30))
	r.write(rAUTOC, 2<<13|1<<12)
	require.Eventually(t, func() bool { r.run(); return r.read(0x42a4)&(1<<30) != 0 }, 30*time.Second, time.Millisecond)
	require.EqualValues(t, 2, r.read(0x42a4)>>28&3)
}

func TestFlowDirectorInitialises(t *testing.T) {
	r := newRig(t, Config{})
	r.write(0xee00, 1)
	require.NotZero(t, r.read(0xee00)&8)
	r.write(0xee2c, 1)
	require.Zero(t, r.read(0xee2c)&3)
}

func TestConfigurationSpace(t *testing.T) {
	r := newRig(t, Config{})
	get := func(off uint64, n int) (v uint32) {
		p := make([]byte, n)
		require.NoError(t, r.ReadRegion(regionConfig, off, p))
		for i := range p {
			v |= uint32(p[i]) << (8 * i)
		}
		return v
	}
	put := func(off uint64, v uint32) {
		require.NoError(t, r.WriteRegion(regionConfig, off, []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)}))
	}
	require.EqualValues(t, 0x10fb8086, get(0, 4))
	require.EqualValues(t, 0x020000, get(9, 3))
	var caps []uint32
	for at := get(0x34, 1); at != 0; at = get(uint64(at)+1, 1) {
		caps = append(caps, get(uint64(at), 1))
	}
	require.Equal(t, []uint32{0x01, 0x05, 0x11, 0x10}, caps)
	require.EqualValues(t, 63, get(0x72, 2)&0x7ff, "MSI-X vectors, where drivers look")
	require.EqualValues(t, 0x82, get(0xb2, 2)&0x3ff, "x8, 5 GT/s")
	require.EqualValues(t, 4, get(0x74, 4)&7, "table in BAR 4")
	for off, size := range map[uint64]uint32{0x10: bar0Size, 0x20: bar4Size} {
		put(off, 0xffffffff)
		require.Equal(t, size, ^(get(off, 4)&^0xf)+1)
	}
	put(0x18, 0xffffffff)
	require.EqualValues(t, bar2Size, ^(get(0x18, 4)&^3)+1)
	require.EqualValues(t, 0x0003, get(0x140, 2), "serial number")

	r.write(rFCTRL, 0x700)
	put(0xa8, 1<<15) // function-level reset
	require.Zero(t, r.read(rFCTRL))
	require.Zero(t, get(4, 2)&4)
	require.Zero(t, get(0xa8, 4)&(1<<15))
}

func TestSecurityBlockStopsBothDirections(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	x := r.rx(0, 8, 2048)
	tx := r.tx()
	r.run()
	require.Zero(t, r.read(0x8d04)&1, "not ready while frames pass")
	require.Zero(t, r.read(0x8804)&1)
	r.write(rSECRXCTRL, r.read(rSECRXCTRL)|2)
	r.write(rSECTXCTRL, r.read(rSECTXCTRL)|2)
	require.NotZero(t, r.read(0x8d04)&1)
	require.NotZero(t, r.read(0x8804)&1)
	r.w.push(plain(60))
	tx.data(plain(80), tdEOP|tdIFCS|tdRS)
	tx.send()
	require.EqualValues(t, 1, r.Stats().NotReceiving)
	require.Empty(t, x.all())
	require.Empty(t, r.w.sent)
	r.write(rSECRXCTRL, 1)
	r.write(rSECTXCTRL, 1)
	r.w.push(plain(61))
	r.run()
	require.Len(t, x.all(), 1)
	require.Len(t, r.w.sent, 1)
}
