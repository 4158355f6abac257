package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func (r *rig) raisedCount(irq, vector int) int { return r.h.raised[[2]int{irq, vector}] }

func TestMSIXVectorOfAQueue(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	r.write(rGPIE, gpieMSIX|1<<31)
	r.write(rIVAR, 0x85) // receive queue 0 -> vector 5
	x := r.rx(0, 64, 2048)
	r.w.push(plain(60))
	r.run()
	require.Zero(t, r.raisedCount(2, 5), "not enabled")
	require.EqualValues(t, 1<<5, r.read(0x808)&0xffff)

	r.write(rEIMS, 1<<5)
	r.run()
	require.Equal(t, 1, r.raisedCount(2, 5), "pending causes are signalled when enabled")
	r.w.push(plain(60))
	r.run()
	require.Equal(t, 1, r.raisedCount(2, 5), "the cause was not cleared")

	r.write(rEIAC, 1<<5)
	r.write(rEICR, 1<<5)
	r.w.push(plain(60))
	r.run()
	r.w.push(plain(60))
	r.run()
	require.Equal(t, 3, r.raisedCount(2, 5), "cleared by the message")
	require.Len(t, x.all(), 4)
}

func TestHighVectorsUseTheExtendedRegisters(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	r.write(rGPIE, gpieMSIX|gpieEIAME)
	r.write(rIVAR, 0x80|40)
	r.write(0xaa4, 1<<8)
	r.write(0xad4, 1<<8)
	require.EqualValues(t, 1<<8, r.read(0xaa4))
	r.rx(0, 64, 2048)
	r.w.push(plain(60))
	r.run()
	require.Equal(t, 1, r.raisedCount(2, 40))
	require.Zero(t, r.read(0xaa4), "masked by its message")
}

func TestModeration(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	r.write(rGPIE, gpieMSIX)
	r.write(rIVAR, 0x80)
	r.write(rEIAC, 1)
	r.write(rEIMS, 1)
	r.write(rEITR, 500<<3) // 1 ms
	r.rx(0, 64, 2048)
	start := time.Now()
	r.w.push(plain(60))
	r.run()
	require.Equal(t, 1, r.raisedCount(2, 0))
	r.w.push(plain(60))
	r.run()
	if time.Since(start) < time.Millisecond {
		require.Equal(t, 1, r.raisedCount(2, 0))
	}
	time.Sleep(2 * time.Millisecond)
	r.run()
	require.Equal(t, 2, r.raisedCount(2, 0))
}

func TestLinkChangeGoesToTheOtherVector(t *testing.T) {
	r := newRig(t, Config{})
	r.write(rGPIE, gpieMSIX)
	r.write(rIVARMISC, 0x8300)
	r.write(rEIMS, eicrLSC)
	r.run()
	require.Equal(t, 1, r.raisedCount(2, 3))
	require.NotZero(t, r.read(0x808)&eicrLSC, "EICS shows causes and clears nothing")
	r.write(rEICR, eicrLSC)
	require.Zero(t, r.read(0x808)&eicrLSC)
}

func TestSingleInterrupt(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	r.write(rIVAR, 0x80)
	r.write(rEIAM, 1)
	r.write(rEIMS, 1)
	r.rx(0, 64, 2048)
	r.w.push(plain(60))
	r.run()
	require.Equal(t, 1, r.raisedCount(0, 0))
	require.Equal(t, 1, r.raisedCount(1, 0))
	require.EqualValues(t, 1, r.read(rEICR)&0xffff)
	require.Zero(t, r.read(rEICR)&0xffff, "read to clear")
	require.Zero(t, r.read(rEIMS)&1, "EIAM masks on reading EICR")
}

// DPDK leaves GPIE.Multiple_MSIX clear unless it waits for receive interrupts. Then
// vector 0 signals all causes.
func TestOneMSIXVectorSignalsAllCauses(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	require.NoError(t, r.WriteRegion(regionConfig, capMSIX+2, []byte{0, 0x80}))
	r.write(rIVAR, 0x85) // receive queue 0 -> EICR bit 5
	r.write(rIVARMISC, 0x8300)
	r.rx(0, 64, 2048)
	r.write(rEIMS, eicrLSC|1<<5)
	r.run()
	require.Equal(t, 1, r.raisedCount(2, 0), "link")
	require.EqualValues(t, eicrLSC, r.read(rEICR))
	r.w.push(plain(60))
	r.run()
	require.Equal(t, 2, r.raisedCount(2, 0), "queue")
	require.EqualValues(t, 1<<5, r.read(rEICR))
	require.Zero(t, r.raisedCount(2, 3)+r.raisedCount(2, 5))

	r.write(rGPIE, gpieMSIX)
	r.w.push(plain(60))
	r.run()
	require.Equal(t, 2, r.raisedCount(2, 0))
	require.Equal(t, 1, r.raisedCount(2, 5), "Multiple_MSIX")
}

func TestOneMSIXVectorIsModeratedByEITR0(t *testing.T) {
	r := newRig(t, Config{})
	r.write(rEITR, 500<<3) // 1 ms
	r.write(rEIMS, 1)
	now := time.Now().UnixNano()
	for i, at := range []struct {
		ns   int64
		want int
	}{{0, 1}, {500_000, 1}, {1_000_000, 2}} {
		r.write(0x808, 1) // EICS
		require.LessOrEqual(t, r.interrupt(now+at.ns), now+1_000_000)
		require.Equal(t, at.want, r.raisedCount(2, 0), i)
		if i == 0 {
			r.read(rEICR)
		}
	}
}

func TestSoftwareInterrupt(t *testing.T) {
	r := newRig(t, Config{})
	r.write(rGPIE, gpieMSIX)
	r.write(rEIMS, 1<<2)
	r.write(0x808, 1<<2)
	r.run()
	require.Equal(t, 1, r.raisedCount(2, 2))
}

func TestOtherClearDisableLeavesQueueCauses(t *testing.T) {
	r := newRig(t, Config{})
	r.write(rGPIE, gpieMSIX|gpieOCD)
	r.write(0x808, 1<<2|eicrLSC)
	require.EqualValues(t, 1<<2|eicrLSC, r.read(rEICR))
	require.EqualValues(t, 1<<2, r.read(rEICR))
}

// Linux' vfio-pci identifies its device's INTx by the PCI status register, and masks
// it by the command register until user space has handled it.
func TestINTxShowsInTheStatusRegisterAndObeysTheCommandRegister(t *testing.T) {
	r := newRig(t, Config{})
	status := func() bool {
		p := make([]byte, 2)
		require.NoError(t, r.ReadRegion(regionConfig, 6, p))
		return p[0]&8 != 0
	}
	command := func(high byte) { require.NoError(t, r.WriteRegion(regionConfig, 4, []byte{6, high})) }
	r.write(0x808, 1) // EICS
	r.run()
	require.False(t, status(), "not enabled")
	r.write(rEIMS, 1)
	r.run()
	require.True(t, status())
	require.Equal(t, 1, r.raisedCount(0, 0))
	command(4)
	require.True(t, status(), "whether or not INTx is disabled")
	r.read(rEICR)
	require.False(t, status())

	r.write(rEIMS, 1)
	r.write(0x808, 1)
	r.run()
	require.True(t, status())
	require.Equal(t, 1, r.raisedCount(0, 0), "disabled")
	command(0)
	r.run()
	require.Equal(t, 2, r.raisedCount(0, 0), "enabled again")
	require.NoError(t, r.WriteRegion(regionConfig, capMSIX+2, []byte{0, 0x80}))
	require.False(t, status(), "MSI-X is enabled")
}

// INTx is a level: it is raised again when it is unmasked while the cause is pending.
func TestINTxIsRaisedAgainWhileItsCauseIsPending(t *testing.T) {
	r := newRig(t, Config{})
	r.write(rEIMS, 1)
	r.write(0x808, 1) // EICS
	r.run()
	require.Equal(t, 1, r.raisedCount(0, 0))
	r.run()
	require.Equal(t, 1, r.raisedCount(0, 0), "asserted already")
	r.Resample()
	r.run()
	require.Equal(t, 2, r.raisedCount(0, 0))
	r.read(rEICR)
	r.Resample()
	r.run()
	require.Equal(t, 2, r.raisedCount(0, 0), "no cause, no level")
}

// A vector that signals the link's cause still signals the queue that IVAR maps to
// it.
func TestQueueSharesTheVectorOfOtherCauses(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	r.write(rGPIE, gpieMSIX)
	r.write(rIVARMISC, 0x8000)
	r.write(rIVAR, 0x80)
	r.write(rEIMS, 1|eicrLSC)
	r.rx(0, 64, 2048)
	r.run()
	require.Equal(t, 1, r.raisedCount(2, 0), "link")
	require.EqualValues(t, eicrLSC, r.read(rEICR))
	r.w.push(plain(60))
	r.run()
	require.Equal(t, 2, r.raisedCount(2, 0), "queue")
}

func TestSingleInterruptIsSignalledAgainByEitherMaskRegister(t *testing.T) {
	for what, regs := range map[string][2]uint32{"EIMC, EIMS": {0x888, rEIMS}, "EIMC_EX, EIMS_EX": {0xab0, 0xaa0}} {
		r := newRig(t, Config{})
		r.write(rEIMS, 1)
		r.write(0x808, 1)
		r.run()
		require.Equal(t, 1, r.raisedCount(1, 0), what)
		r.write(regs[0], 1)
		r.write(regs[1], 1)
		r.run()
		require.Equal(t, 2, r.raisedCount(1, 0), what)
	}
}

// INTx is a message of its own and MSI a memory write: only MSI needs the bus master
// bit.
func TestBusMasterGatesMSIAndNotINTx(t *testing.T) {
	const msiOn = 1
	for _, msi := range []byte{0, msiOn} {
		r := newRig(t, Config{})
		r.write(rEIMS, 1)
		require.NoError(t, r.WriteRegion(regionConfig, capMSI+2, []byte{msi, 0}))
		require.NoError(t, r.WriteRegion(regionConfig, 4, []byte{2, 0}))
		r.write(0x808, 1)
		r.run()
		require.Equal(t, msi == 0, r.raisedCount(0, 0) == 1)
		require.Zero(t, r.raisedCount(1, 0))
		require.NoError(t, r.WriteRegion(regionConfig, 4, []byte{6, 0}))
		r.run()
		require.Equal(t, msi == msiOn, r.raisedCount(1, 0) == 1)
	}
}
