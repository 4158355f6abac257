package sim

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/internal/logtest"
	"github.com/ixcap/ixcap/sim/wire"
)

// Tests of the four defects that VM tests and drivers must detect. Each differs from
// a healthy chip only in what its name says.

func parsed(t *testing.T, fault string) Config {
	t.Helper()
	options, err := wire.ParseOptions("gen,fault=" + fault)
	require.NoError(t, err)
	cfg, rest, err := ParseConfig(options)
	require.NoError(t, err)
	require.Equal(t, []wire.Option{{Key: "gen"}}, rest)
	return cfg
}

func TestFaultNames(t *testing.T) {
	require.Equal(t, Faults{BadChecksum: true}, parsed(t, "eeprom-checksum").Faults)
	require.Equal(t, Faults{NoWriteBack: true, BadCRC: 3}, parsed(t, "no-writeback+crc:3").Faults)
	require.Equal(t, Faults{NoEnable: true}, parsed(t, "rxdctl").Faults)
	require.Equal(t, Faults{NoMSIX: true}, parsed(t, "no-msix").Faults)
}

func TestFaultEEPROMChecksum(t *testing.T) {
	for fault, good := range map[string]bool{"no-msix": true, "eeprom-checksum": false} {
		r := newRig(t, parsed(t, fault))
		e := make([]uint16, eeWords)
		for i := range e {
			e[i] = r.word(uint32(i))
		}
		require.Equal(t, good, sumEEPROM(e, variants[0])+e[eeChecksum] == 0xbaba, fault)
	}
}

func TestFaultNoWriteBack(t *testing.T) {
	r := newRig(t, parsed(t, "no-writeback"))
	r.promiscuous()
	x := r.rx(0, 8, 2048)
	frame := plain(100)
	r.w.push(frame)
	r.run()
	_, done := x.pop()
	require.False(t, done, "DD stays clear")
	require.Equal(t, frame, r.h.at(x.buf, len(frame)), "the buffer is written")
	require.EqualValues(t, 1, r.read(rxReg(0, qHEAD)))
	require.EqualValues(t, 1, r.read(cGPRC))

	tx := r.tx()
	tx.data(frame, tdEOP|tdIFCS|tdRS)
	tx.send()
	require.Len(t, r.w.sent, 1)
	require.Zero(t, r.h.at(tx.ring, 16)[12]&1, "DD stays clear")
	require.EqualValues(t, 1, r.read(txReg(0, qHEAD)))
}

func TestFaultRXDCTL(t *testing.T) {
	r := newRig(t, parsed(t, "rxdctl"))
	r.promiscuous()
	r.write(rxReg(0, qBAL), testBase)
	r.write(rxReg(0, qLEN), 128)
	r.write(rxReg(0, qSRR), 2|1<<25)
	r.write(rxReg(0, qDCTL), 1<<25|1<<30)
	require.EqualValues(t, 1<<30, r.read(rxReg(0, qDCTL)))
	r.write(rDMATXCTL, r.read(rDMATXCTL)|1)
	r.write(txReg(0, qDCTL), 1<<25)
	require.NotZero(t, r.read(txReg(0, qDCTL))&(1<<25), "transmit queues are healthy")
}

func TestFaultNoMSIX(t *testing.T) {
	for fault, want := range map[string]int{"rxdctl": 1, "no-msix": 0} {
		r := newRig(t, parsed(t, fault))
		r.write(rGPIE, gpieMSIX)
		r.write(rEIMS, 1<<3)
		r.write(0x808, 1<<3) // EICS
		r.run()
		require.Equal(t, want, r.raisedCount(2, 3), fault)
		require.EqualValues(t, want, r.Stats().Interrupts)
	}
}

func TestFirmwareIsValid(t *testing.T) {
	r := newRig(t, Config{})
	fwsm := r.read(0x10148)
	require.NotZero(t, fwsm&(1<<15), "valid")
	require.Zero(t, fwsm&0x01f80000, "no error indication")
	require.Zero(t, fwsm>>1&7, "no management mode")
}

// Linux' loopback test counts frames and fails if one comes from the wire.
func TestLoopbackIgnoresTheWire(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	x := r.rx(0, 8, 2048)
	tx := r.tx()
	r.write(rHLREG0, r.read(rHLREG0)|1<<15)
	r.w.push(plain(70), plain(71))
	tx.data(plain(72), tdEOP|tdIFCS|tdRS)
	tx.send()
	got := x.all()
	require.Len(t, got, 1)
	require.Len(t, got[0].data, 72)
	require.Empty(t, r.w.sent)
	require.EqualValues(t, 2, r.Stats().NotReceiving)
}

// carrierWire is a wire that carries the transmitter's state.
type carrierWire struct {
	testWire
	on []bool
}

func (w *carrierWire) SetCarrier(on bool) {
	if len(w.on) == 0 || w.on[len(w.on)-1] != on {
		w.on = append(w.on, on)
	}
}

func TestLaserSetsCarrierOfTheOtherEnd(t *testing.T) {
	r := newRig(t, Config{})
	w := &carrierWire{}
	r.carrier = w
	check := func() {
		r.mu.Lock()
		r.checkLink(time.Now())
		r.mu.Unlock()
	}
	check()
	r.write(rESDP, r.read(rESDP)|esdpLaser) // as ixgbe does when the interface goes down
	check()
	require.Zero(t, r.read(0x42a4)&linksUp)
	r.write(rESDP, r.read(rESDP)&^esdpLaser)
	check()
	require.Equal(t, []bool{true, false, true}, w.on)
}

func TestLoggerGetsFaultsOfAddresses(t *testing.T) {
	var log logtest.Recorder
	r := newRig(t, Config{Logger: log.Logger()})
	r.promiscuous()
	x := r.rx(1, 8, 2048)
	r.write(rIVAR, 0)
	r.h.at(x.ring, 8)[6] = 0x77 // the first buffer's address
	r.write(rMRQC, 0)
	r.write(rxReg(1, qTAIL), 7)
	r.write(rETQF, 1<<31|0x0806)
	r.write(rETQS, 1<<31|1<<16) // ARP to queue 1
	arp := plain(60)
	arp[12], arp[13] = 8, 6
	r.w.push(arp)
	r.run()
	logged := log.Lines()
	require.Len(t, logged, 1)
	require.True(t, strings.HasPrefix(logged[0], "receive queue 1, buffer at 0x77"), logged[0])
	require.EqualValues(t, 1, r.Stats().Unwritten)
}
