package driver_test

import (
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/driver/drivertest"
	"github.com/ixcap/ixcap/driver/internal/reg"
	"github.com/ixcap/ixcap/internal/testtime"
)

// The link is read once a second if its vector is dead, even if queues that share a
// vector wake the watcher more often. The Go runtime's signals would make it read too,
// so they are off, in a separate process.
func TestBusyQueuesDoNotHideTheLink(t *testing.T) {
	const quiet = "GODEBUG=asyncpreemptoff=1"
	if !slices.Contains(os.Environ(), quiet) {
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
		c.Env = append(os.Environ(), quiet)
		out, err := c.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return
	}
	d := drivertest.NewDevice()
	d.MSIX = 2
	d.Dead[1] = true
	events := &eventLog{}
	p, err := driver.Open(d, driver.Config{Queues: 2, RingSize: 64, Interrupts: driver.QueueInterrupts, OnEvent: events.add})
	require.NoError(t, err)
	events.wait(t, driver.LinkChanged, 1)
	d.Set(reg.LINKS, 0)
	bar, err := d.BAR(0)
	require.NoError(t, err)
	check := deadline(t, testtime.Deadline)
	for ; len(events.texts(driver.LinkChanged)) < 2; time.Sleep(10 * time.Millisecond) {
		check("the link was not read")
		bar.Store32(uint32(reg.EIMS_EX(0).Offset), 1)
		d.Raise(0)
	}
	require.Equal(t, "link down", events.texts(driver.LinkChanged)[1])
	require.NoError(t, p.Close())
}

// A program may stop its port in OnEvent.
func TestOnEventThatStopsThePortDoesNotBlockClose(t *testing.T) {
	d := drivertest.NewDevice()
	d.MSIX = 64
	var p *driver.Port
	opened, called, stop := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var once sync.Once
	p, err := driver.Open(d, driver.Config{RingSize: 64, OnEvent: func(driver.Event) {
		once.Do(func() {
			<-opened
			close(called)
			<-stop
			_ = p.Stop()
		})
	}})
	require.NoError(t, err)
	close(opened)
	require.NoError(t, p.Start())
	<-called
	closed := make(chan error, 1)
	go func() { closed <- p.Close() }()
	require.Eventually(t, func() bool { return p.Start() != nil }, testtime.Deadline, time.Millisecond, "Close has begun")
	close(stop)
	select {
	case err := <-closed:
		require.NoError(t, err)
	case <-time.After(testtime.Deadline):
		t.Fatal("Close hangs")
	}
}

func TestModuleWhoseLinkCannotBeSetUpIsReported(t *testing.T) {
	d := drivertest.NewDevice()
	d.MSIX = 64
	events := &eventLog{}
	p, err := driver.Open(d, driver.Config{RingSize: 64, OnEvent: events.add})
	require.NoError(t, err)
	events.wait(t, driver.LinkChanged, 1)
	d.Set(reg.SW_FW_SYNC, reg.SW_FW_SYNC_MAC_CSR.Firmware.Mask()) // the firmware holds it
	d.RaiseOther(reg.EICR_GPI_SDP2.Mask())
	all := events.wait(t, driver.ModuleUnsupported, 1)
	require.Contains(t, all[len(all)-1], "its link could not be set up: wait for SW_FW_SYNC.MAC_CSR|MAC_CSR_FW: bits 0x108 are 0x100 after 1s, want 0x0")
	require.NoError(t, p.Close())
}
