package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Linux sets TIMINCA so that SYSTIM grows by 2^21 per nanosecond at 10 Gb/s
// (ixgbe_ptp_start_cyclecounter).
func TestSystemTimeRunsAtTheRateOfTIMINCA(t *testing.T) {
	r := newRig(t, Config{})
	now := func() uint64 {
		low := r.read(rSYSTIML)
		return uint64(r.read(rSYSTIML+4))<<32 | uint64(low)
	}
	require.Zero(t, now(), "the clock stands until TIMINCA is set")
	r.write(rSYSTIML, 0xfffffff0)
	r.write(rSYSTIML+4, 6)
	before := time.Now()
	r.write(rTIMINCA, 1<<24|0xcccccc)
	first := now()
	require.GreaterOrEqual(t, first, uint64(6)<<32|0xfffffff0)
	time.Sleep(20 * time.Millisecond)
	second := now()
	most := uint64(time.Since(before)) << 21
	require.GreaterOrEqual(t, second-first, uint64(19*time.Millisecond)<<21)
	require.LessOrEqual(t, second-first, most)

	r.write(rTIMINCA, 0)
	stopped := now()
	time.Sleep(time.Millisecond)
	require.Equal(t, stopped, now())

	// Reading the low half latches the high one.
	r.write(rSYSTIML, 0xffffffff)
	r.write(rSYSTIML+4, 1)
	require.EqualValues(t, 0xffffffff, r.read(rSYSTIML))
	r.write(rTIMINCA, 1<<24|0xffffff)
	time.Sleep(time.Millisecond)
	require.EqualValues(t, 1, r.read(rSYSTIML+4))
}

// Linux sets TIMINCA so that SYSTIM of an X540 grows by 2^28 per nanosecond, at each speed
// with another increment; that of an X550, which is another clock, stands.
func TestSystemTimeOfOtherControllers(t *testing.T) {
	for id, ns := range map[uint16]float64{0x1528: 1 << 28, 0x1563: 0} {
		r := newRig(t, Config{ID: id})
		r.passAt(time.Hour)
		r.write(rTIMINCA, 0x66666666)
		r.passAt(time.Hour + time.Second)
		low := r.read(rSYSTIML)
		require.InEpsilon(t, 1+ns*1e9, 1+float64(uint64(r.read(rSYSTIML+4))<<32|uint64(low)), 1e-6, "%04x", id)
	}
}

// The clock's cycle depends on the link's speed: 64 ns at 1 Gb/s, 6.4 ns without a link
// (Linux, ixgbe_ptp_start_cyclecounter). Time before a change counts at the old rate.
func TestSystemTimeAcrossAChangeOfSpeed(t *testing.T) {
	r := newRig(t, Config{Module: ModuleSX})
	r.write(rAUTOC, lms1GNoAN<<13)
	at := time.Hour
	r.passAt(at)
	require.True(t, r.link.up)
	r.write(rTIMINCA, 1<<24|1)
	r.passAt(at + 20*time.Millisecond)
	r.write(rAUTOC, lms1GNoAN<<13|autocRestart) // the link goes down
	require.EqualValues(t, 20e6/64, r.read(rSYSTIML))
	r.passAt(at + 21*time.Millisecond) // and up
	require.EqualValues(t, 20e6/64+1e6/6.4, r.read(rSYSTIML))
	r.passAt(at + 31*time.Millisecond)
	require.EqualValues(t, 30e6/64+1e6/6.4, r.read(rSYSTIML))
}
