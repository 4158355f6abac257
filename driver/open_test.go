package driver_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/driver/drivertest"
	"github.com/ixcap/ixcap/driver/internal/reg"
	"github.com/ixcap/ixcap/hugepage"
)

func TestOpenFollowsTheOrderOfTheDatasheet(t *testing.T) {
	d := drivertest.NewDevice()
	p, err := driver.Open(d, driver.Config{Queues: 3, TxQueues: 2, RingSize: 64, TxRingSize: 64})
	require.NoError(t, err)
	order := d.Stores()
	at := func(name string) int {
		i := slices.Index(order, name)
		require.GreaterOrEqual(t, i, 0, "%s was never written", name)
		return i
	}
	for _, pair := range [][2]string{
		{"EIMC", "CTRL"}, // interrupts off before the reset
		{"CTRL", "FCTTV"}, {"FCCFG", "EERD"}, {"EERD", "AUTOC"}, {"AUTOC", "FCTRL"},
		{"FCTRL", "MRQC"}, {"RXPBSIZE", "RDBAL"}, {"RDBAL", "TDBAL"}, {"TDBAL", "DMATXCTL"}, {"DMATXCTL", "TXDCTL"},
	} {
		if pair[1] == "TXDCTL" {
			continue // written for its thresholds before
		}
		require.Less(t, at(pair[0]), at(pair[1]), "%s before %s", pair[0], pair[1])
	}
	require.Less(t, slices.Index(order, "CTRL"), slices.Index(order[at("CTRL"):], "EIMC")+at("CTRL"), "interrupts off again after the reset")
	require.Zero(t, reg.RXCTRL_RXEN.Of(d.Value(reg.RXCTRL)), "reception waits for Start")
	require.True(t, d.BusMaster())
	require.Equal(t, "02:11:22:33:44:55", p.MAC().String())
	require.Equal(t, driver.Link{Up: true, Speed: 10000}, p.Link())
	require.Equal(t, "82599ES SFP+", p.Model())

	for what, ok := range map[string]bool{
		"promiscuous":           d.Value(reg.FCTRL)&0x700 == 0x700,
		"CRC stripped":          d.Value(reg.HLREG0)&2 != 0 && d.Value(reg.RDRXCTL)&2 != 0,
		"jumbo frames":          d.Value(reg.HLREG0)&4 != 0 && d.Value(reg.MAXFRS)>>16 == 15872,
		"first RSC size 0":      reg.RDRXCTL_RSCFRSTSIZE.Of(d.Value(reg.RDRXCTL)) == 0,
		"RSC off":               d.Value(reg.RFCTL)&0x20 != 0,
		"hash in descriptor":    d.Value(reg.RXCSUM) == 1<<13,
		"RSS":                   d.Value(reg.MRQC) == 0x00f30001,
		"symmetric key":         d.Value(reg.RSSRK(0)) == 0x5a6d5a6d,
		"table round robin":     d.Value(reg.RETA(0)) == 0x00020100 && d.Value(reg.RETA(1)) == 0x01000201,
		"drop when out of room": d.Value(reg.SRRCTL(2)) == 1<<28|1<<25|4<<8|2,
		"one packet buffer":     d.Value(reg.RXPBSIZE(0)) == 512<<10 && d.Value(reg.RXPBSIZE(1)) == 0,
		"no flow control":       d.Value(reg.FCCFG) == 0 && d.Value(reg.MFLCN) == 1,
		"DCA bit 12 clear":      d.Value(reg.DCA_RXCTRL(0)) == 0,
		"no snoop off":          d.Value(reg.CTRL_EXT)&(1<<16) != 0,
		"driver loaded":         d.Value(reg.CTRL_EXT)&(1<<28) != 0,
		"statistics mapped":     d.Value(reg.RQSMR(3)) == 0x0f0e0d0c,
		"10G SFI":               reg.AUTOC_LMS.Of(d.Value(reg.AUTOC)) == 3 && d.Value(reg.AUTOC2)>>16&3 == 2,
		"semaphores released":   d.Value(reg.SW_FW_SYNC) == 0,
		"transmit on":           d.Value(reg.DMATXCTL)&1 == 1 && d.Value(reg.TXDCTL(1)) == 1<<25|8<<8|36,
	} {
		require.True(t, ok, what)
	}

	require.NoError(t, p.Start())
	order = d.Stores()
	last := slices.DeleteFunc(order, func(n string) bool { return n == "SECRXCTRL" })
	require.Equal(t, "RXCTRL", last[len(last)-1], "RXEN comes last")
	require.Equal(t, uint32(63), d.Value(reg.RDT(2)))
	require.NoError(t, p.Start(), "no effect if started")
	require.NoError(t, p.Stop())
	require.NoError(t, p.Stop())
	require.NoError(t, p.Start(), "after Stop")
	require.NoError(t, p.Close())
	require.NoError(t, p.Close())
	require.Error(t, p.Start())
	require.False(t, d.BusMaster())
	require.Zero(t, d.Mapper.Mapped())
	require.Zero(t, d.Value(reg.RXDCTL(2))&(1<<25))
}

func TestOneQueueKeepsFramesInThePacketBuffer(t *testing.T) {
	d := drivertest.NewDevice()
	p, err := driver.Open(d, driver.Config{RingSize: 64, StripVLAN: true, Speed: 1000, MaxFrame: 1514})
	require.NoError(t, err)
	require.Equal(t, uint32(1<<25|4<<8|2), d.Value(reg.SRRCTL(0)))
	require.NotZero(t, d.Value(reg.RXDCTL(0))&(1<<30))
	require.Zero(t, reg.AUTOC_LMS.Of(d.Value(reg.AUTOC)))
	require.Equal(t, uint32(1518), d.Value(reg.MAXFRS)>>16)
	require.Zero(t, d.Value(reg.DMATXCTL), "no transmit queues")
	require.NoError(t, p.Close())
}

func TestPendingRequestsCauseASecondReset(t *testing.T) {
	d := drivertest.NewDevice()
	d.Stuck[reg.STATUS] = 1 << 19
	p, err := driver.Open(d, driver.Config{RingSize: 64})
	require.NoError(t, err)
	require.Contains(t, d.Stores(), "GCR_EXT", "the data path is flushed")
	require.NoError(t, p.Close(), "a function-level reset ends them")
	require.Zero(t, d.Mapper.Mapped())

	p, err = driver.Open(d, driver.Config{RingSize: 64})
	require.NoError(t, err)
	d.ResetErr = errors.New("no reset method")
	err = p.Close()
	require.ErrorContains(t, err, "wait for STATUS.MASTER_ENABLE: bits 0x80000 are 0x80000")
	require.ErrorIs(t, err, d.ResetErr)
	require.Zero(t, d.Mapper.Mapped())
}

func TestDamagedEEPROMIsRefusedUnlessSkipped(t *testing.T) {
	d := drivertest.NewDevice()
	d.BreakEEPROM()
	_, err := driver.Open(d, driver.Config{RingSize: 64})
	require.ErrorContains(t, err, "check EEPROM: EEPROM sum is 0xbabb, want 0xbaba")
	p, err := driver.Open(d, driver.Config{RingSize: 64, SkipEEPROMCheck: true})
	require.NoError(t, err)
	require.NoError(t, p.Close())
}

// handles returns how many descriptors and memfd mappings the process has.
func handles(t *testing.T) (fds, maps int) {
	t.Helper()
	dir, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	m, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	return len(dir), strings.Count(string(m), "memfd:")
}

func TestFailingAnyStepLeavesNothingBehind(t *testing.T) {
	cfg := driver.Config{Queues: 2, TxQueues: 1, RingSize: 64, TxRingSize: 64}
	boom := errors.New("boom")
	fds, maps := handles(t)
	check := func(d *drivertest.Device, err error) {
		t.Helper()
		require.ErrorContains(t, err, "open fake:82599: ")
		require.Zero(t, d.Mapper.Mapped())
		f, m := handles(t)
		require.Equal(t, [2]int{fds, maps}, [2]int{f, m})
	}

	d := drivertest.NewDevice()
	d.BARErr = boom
	_, err := driver.Open(d, cfg)
	require.ErrorIs(t, err, boom)
	check(d, err)

	d = drivertest.NewDevice()
	d.BARSize = 4096
	_, err = driver.Open(d, cfg)
	require.ErrorContains(t, err, "BAR 0 has 4096 bytes")
	check(d, err)

	d = drivertest.NewDevice()
	d.ConfigErr = boom
	_, err = driver.Open(d, cfg)
	require.ErrorIs(t, err, boom)
	check(d, err)

	for fail := range 6 { // two mappings for each of three queues
		d = drivertest.NewDevice()
		n := 0
		d.Mapper.Refuse = func(*hugepage.Memory) error {
			if n++; n == fail+1 {
				return boom
			}
			return nil
		}
		_, err = driver.Open(d, cfg)
		require.ErrorIs(t, err, boom)
		check(d, err)
	}

	// The device leaves the bus at every fifth access in turn.
	complete := drivertest.NewDevice()
	p, err := driver.Open(complete, cfg)
	require.NoError(t, err)
	accesses := complete.Accesses()
	require.NoError(t, p.Close())
	for n := 1; n < accesses; n += 5 {
		d = drivertest.NewDevice()
		d.GoneAfter = n
		_, err = driver.Open(d, cfg)
		require.ErrorIs(t, err, drivertest.ErrGone, "gone after %d of %d accesses", n, accesses)
		check(d, err)
	}
}

func TestStartAgainPostsTheRingOfAQueueThatFailed(t *testing.T) {
	d := drivertest.NewDevice()
	d.Stuck[reg.RXDCTL(1)] = 0
	p, err := driver.Open(d, driver.Config{Queues: 2, RingSize: 64})
	require.NoError(t, err)
	require.Error(t, p.Start())
	delete(d.Stuck, reg.RXDCTL(1))
	d.Set(reg.RXDCTL(1), reg.RXDCTL_ENABLE.Val(1))
	require.NoError(t, p.Start())
	require.Equal(t, uint32(63), d.Value(reg.RDT(0)))
	require.Equal(t, uint32(63), d.Value(reg.RDT(1)))
	require.NoError(t, p.Close())
}

func TestWaitLinkEndsWhenThePortIsClosed(t *testing.T) {
	d := drivertest.NewDevice()
	d.Stuck[reg.LINKS] = 0
	p, err := driver.Open(d, driver.Config{RingSize: 64})
	require.NoError(t, err)
	require.NoError(t, p.Close())
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err = p.WaitLink(ctx)
	require.ErrorContains(t, err, "wait for the link of fake:82599: the port is closed")
}

func TestCountersAreReadOnAPortThatOnlySends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := drivertest.NewDevice()
		p, err := driver.Open(d, driver.Config{TxQueues: 1, RingSize: 64})
		require.NoError(t, err)
		before := d.Accesses()
		time.Sleep(time.Minute) // 36 bits of bytes overflow after 55 s
		require.Greater(t, d.Accesses(), before)
		require.NoError(t, p.Close())
	})
}

func TestRemovedDeviceIsReportedNotCounted(t *testing.T) {
	d := drivertest.NewDevice()
	p, err := driver.Open(d, driver.Config{RingSize: 64})
	require.NoError(t, err)
	require.NoError(t, p.Start())
	d.Set(reg.GPRC, 5)
	d.Set(reg.QPRC(0), 5)
	s, err := p.Stats()
	require.NoError(t, err)
	require.EqualValues(t, 5, s.Wire)
	require.NoError(t, s.Balanced())
	d.Remove()
	s, err = p.Stats()
	require.ErrorIs(t, err, drivertest.ErrGone)
	require.EqualValues(t, 5, s.Wire, "all ones are no counts")
	require.False(t, p.Link().Up)
	_, err = p.WaitLink(t.Context())
	require.ErrorIs(t, err, drivertest.ErrGone)
	begin := time.Now()
	require.NoError(t, p.Close())
	require.Less(t, time.Since(begin), 30*time.Second)
	require.Zero(t, d.Mapper.Mapped())
}

func TestRegistersPrintThemselvesWithoutSideEffects(t *testing.T) {
	d := drivertest.NewDevice()
	p, err := driver.Open(d, driver.Config{Queues: 2, RingSize: 64})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	before := d.Value(reg.SWSM)
	text := p.Registers().String()
	require.Equal(t, before, d.Value(reg.SWSM), "the semaphore is not acquired")
	require.Contains(t, text, "RXDCTL[1]")
	require.NotContains(t, text, "RXDCTL[2]")
	require.NotContains(t, text, "GPRC")
	require.Contains(t, text, "05080  00000700  FCTRL          8.2.3.7")
}
