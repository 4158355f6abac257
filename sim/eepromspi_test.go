package sim

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// spiMaster clocks the EEPROM through EEC, as Linux does to write it
// (ixgbe_read_eeprom_buffer_bit_bang, ixgbe_write_eeprom_buffer_bit_bang).
type spiMaster struct{ *rig }

func (m spiMaster) change(clear, set uint32) { m.write(rEEC, m.read(rEEC)&^clear|set) }

func (m spiMaster) acquire() {
	m.change(0, eecREQ)
	require.NotZero(m, m.read(rEEC)&eecGNT)
	m.change(eecCS|eecSK, 0)
}

func (m spiMaster) standby() {
	m.change(0, eecCS)
	m.change(eecCS, 0)
}

func (m spiMaster) release() {
	m.change(eecSK, eecCS)
	m.change(eecREQ, 0)
}

func (m spiMaster) out(v uint32, bits int) {
	for i := bits - 1; i >= 0; i-- {
		m.change(eecDI, v>>i&1*eecDI)
		m.change(0, eecSK)
		m.change(eecSK, 0)
	}
	m.change(eecDI, 0)
}

func (m spiMaster) in(bits int) (v uint32) {
	for range bits {
		m.change(0, eecSK)
		v = v<<1 | m.read(rEEC)&eecDO/eecDO
		m.change(eecSK, 0)
	}
	return v
}

func (m spiMaster) status() uint32 {
	m.standby()
	m.out(spiStatus, 8)
	return m.in(8)
}

func (m spiMaster) words(addr uint32, n int) (list []uint16) {
	m.standby()
	m.out(spiRead, 8)
	m.out(addr*2, 16)
	for range n {
		v := m.in(16)
		list = append(list, uint16(v>>8|v<<8))
	}
	return list
}

func (m spiMaster) store(addr uint32, words ...uint16) {
	m.standby()
	m.out(spiWrite, 8)
	m.out(addr*2, 16)
	for _, w := range words {
		m.out(uint32(w>>8|w<<8), 16)
	}
	m.standby()
}

func TestEEPROMIsReadThroughEEC(t *testing.T) {
	r := newRig(t, Config{MAC: [6]byte{2, 1, 2, 3, 4, 5}})
	m := spiMaster{r}
	m.acquire()
	require.Zero(t, m.status()&1, "ready")
	for _, addr := range []uint32{0, eeChecksum, atAddress, eeWords - 2} {
		want := []uint16{r.word(addr), r.word(addr + 1), r.word((addr + 2) % eeWords)}
		require.Equal(t, want, m.words(addr, 3), "from %#x", addr)
	}
	m.release()
	require.Zero(t, r.read(rEEC)&(eecGNT|eecDO))
	require.Equal(t, []uint16{0, 0}, m.words(atAddress, 2), "access is not granted")
}

func TestEEPROMIsWrittenThroughEEC(t *testing.T) {
	r := newRig(t, Config{})
	m := spiMaster{r}
	m.acquire()
	old := r.word(0x20)
	m.store(0x20, ^old)
	require.Equal(t, old, r.word(0x20), "writing is not enabled")
	m.standby()
	m.out(spiWriteEnable, 8)
	require.EqualValues(t, 2, m.status())
	m.store(0x20, 0x1234, 0x5678)
	require.Equal(t, []uint16{0x1234, 0x5678}, []uint16{r.word(0x20), r.word(0x21)})
	require.Zero(t, m.status(), "each write is enabled anew")
	m.standby()
	m.out(spiWriteEnable, 8)
	m.store(0x2f, 0xaaaa, 0xbbbb)
	require.Equal(t, []uint16{0xaaaa, 0xbbbb}, []uint16{r.word(0x2f), r.word(0x20)}, "a page has 32 bytes")
	m.standby()
	m.out(spiWriteEnable, 8)
	m.standby()
	m.out(spiWriteDisable, 8)
	require.Zero(t, m.status())
}

func TestLinkResetReleasesTheEEPROM(t *testing.T) {
	r := newRig(t, Config{})
	m := spiMaster{r}
	m.acquire()
	m.out(spiRead, 8)
	r.write(rCTRL, ctrlLinkReset)
	m.acquire()
	require.Equal(t, []uint16{r.word(atAddress)}, m.words(atAddress, 1))
	m.release()
}
