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
)

// The link is looked at once a second when its own vector is silent, however
// often those of queues that share one wake the watcher. The Go runtime's signals
// would make it look as well, so they are off, in a process of its own.
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
	d.Silent[1] = true
	notes := &diary{}
	p, err := driver.Open(d, driver.Config{Queues: 2, RingSize: 64, Interrupts: driver.QueueInterrupts, OnEvent: notes.note})
	require.NoError(t, err)
	notes.wait(t, driver.LinkChanged, 1)
	d.Set(reg.LINKS, 0)
	bar, err := d.BAR(0)
	require.NoError(t, err)
	for end := time.Now().Add(30 * time.Second); len(notes.texts(driver.LinkChanged)) < 2; time.Sleep(10 * time.Millisecond) {
		require.True(t, time.Now().Before(end), "nobody has looked at the link")
		bar.Store32(uint32(reg.EIMS_EX(0).Offset), 1)
		d.Raise(0)
	}
	require.Equal(t, "link down", notes.texts(driver.LinkChanged)[1])
	require.NoError(t, p.Close())
}

// A program may well stop its port when it is told that something is wrong.
func TestNotifyThatStopsThePortDoesNotHoldCloseUp(t *testing.T) {
	d := drivertest.NewDevice()
	d.MSIX = 64
	var p *driver.Port
	opened, told, stop := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var once sync.Once
	p, err := driver.Open(d, driver.Config{RingSize: 64, OnEvent: func(driver.Event) {
		once.Do(func() {
			<-opened
			close(told)
			<-stop
			_ = p.Stop()
		})
	}})
	require.NoError(t, err)
	close(opened)
	require.NoError(t, p.Start())
	<-told
	closed := make(chan error, 1)
	go func() { closed <- p.Close() }()
	require.Eventually(t, func() bool { return p.Start() != nil }, 30*time.Second, time.Millisecond, "Close has begun")
	close(stop)
	select {
	case err := <-closed:
		require.NoError(t, err)
	case <-time.After(30 * time.Second):
		t.Fatal("Close hangs")
	}
}

func TestModuleWhoseLinkCannotBeSetUpIsTold(t *testing.T) {
	d := drivertest.NewDevice()
	d.MSIX = 64
	notes := &diary{}
	p, err := driver.Open(d, driver.Config{RingSize: 64, OnEvent: notes.note})
	require.NoError(t, err)
	notes.wait(t, driver.LinkChanged, 1)
	d.Set(reg.SW_FW_SYNC, reg.SW_FW_SYNC_MAC_CSR.Firmware.Mask()) // the firmware keeps it
	d.RaiseOther(reg.EICR_GPI_SDP2.Mask())
	all := notes.wait(t, driver.ModuleDoubtful, 1)
	require.Contains(t, all[len(all)-1], "its link could not be set up: wait for SW_FW_SYNC.MAC_CSR|MAC_CSR_FW: bits 0x108 are 0x100 after 1s, want 0x0")
	require.NoError(t, p.Close())
}
