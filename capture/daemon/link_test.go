package daemon_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/daemon"
	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/internal/testtime"
)

// A link that flaps while frames arrive neither ends the capture nor unbalances the ledger,
// and each change is logged.
func TestLinkFlapsDuringACapture(t *testing.T) {
	dir := folder(t)
	s := parse(t, fmt.Sprintf(`
[port.a]
device = "sim:gen,count=forever,rate=1Mpps,size=60-300,linkdelay=30ms,fault=flap:150ms"
buffer = "8MiB"
storage.dirs = "null"
[share]
dir = %q
`, dir))
	r := open(t, s, daemon.Config{})
	end := r.start(t)
	logged := func(what string) (n int) {
		for _, line := range r.log.Lines() {
			if strings.HasPrefix(line, what) {
				n++
			}
		}
		return n
	}
	require.Eventually(t, func() bool { return logged("link up at 10000 Mb/s") >= 3 }, testtime.Deadline, time.Millisecond)
	require.NoError(t, end())
	l := r.Ledgers()[0]
	require.NoError(t, l.Err)
	require.NoError(t, l.Ledger.Balanced())
	require.Positive(t, l.Ledger.Frames())
	require.GreaterOrEqual(t, l.Ledger.Account.LinkDowns, uint64(3))
	require.GreaterOrEqual(t, logged("link down"), 3)
}

func TestModuleAndLEDOfARunningCapture(t *testing.T) {
	dir := folder(t)
	s := parse(t, fmt.Sprintf(`
[port.a]
device = "sim:gen,count=forever,rate=1kpps,size=60,sfp=sx,ddm=external"
negotiate = true
buffer = "8MiB"
storage.dirs = "null"
[share]
dir = %q
`, dir))
	r := open(t, s, daemon.Config{})
	end := r.start(t)
	c := control.NewClient(filepath.Join(dir, "control.sock"))
	t.Cleanup(c.Close)
	require.Eventually(t, func() bool {
		m, err := c.Module(t.Context())
		return err == nil && m.Link == "up at 1000 Mb/s, negotiated"
	}, testtime.Deadline, time.Millisecond)
	m, err := c.Module(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"1000BASE-SX", "ixcap model", "SOFTWARE SFP+", "850"}, []string{m.Kind, m.Vendor, m.Part, fmt.Sprint(m.Wavelength)})
	require.NotNil(t, m.Measured, m.Error)
	require.InDelta(t, 36.5, m.Measured.Temperature.Value, 0.01)
	require.InDelta(t, 0.45, m.Measured.RxPower.Value, 0.001)
	text, err := json.Marshal(m)
	require.NoError(t, err)
	require.Contains(t, string(text), `"rx_loss":false`)

	_, err = c.Blink(t.Context(), time.Hour)
	require.NoError(t, err)
	_, err = c.Blink(t.Context(), time.Second)
	var refused *control.Refused
	require.ErrorAs(t, err, &refused)
	require.Equal(t, http.StatusConflict, refused.Code)
	require.Contains(t, refused.Text, "already blinking")
	_, err = c.Blink(t.Context(), 2*time.Hour)
	require.ErrorContains(t, err, "at most 1h")
	require.NoError(t, end())
	require.NoError(t, r.Close(), "a blinking LED does not keep the port open")
	require.False(t, slices.Contains(r.log.Lines(), "error"))
}

func TestUnsupportedModuleIsAcceptedBySettings(t *testing.T) {
	const text = "[port.a]\ndevice = \"sim:gen,count=10,backpressure,sfp=lrm\"\nbuffer = \"8MiB\"\nstorage.dirs = \"null\"\n"
	_, err := daemon.Open(parse(t, text), daemon.Config{})
	require.ErrorContains(t, err, "--any-module")
	r := open(t, parse(t, text+"any_module = true\n"), daemon.Config{})
	require.NoError(t, r.Run(t.Context()))
	require.EqualValues(t, 10, r.Ledgers()[0].Ledger.Frames())
}

// A device that stops writing frames is reset under a capture: the stream goes on, and the
// ledger says what was lost inside the device.
func TestStalledDeviceIsResetUnderACapture(t *testing.T) {
	dir := folder(t)
	s := parse(t, fmt.Sprintf(`
[port.a]
device = "sim:gen,count=forever,rate=100kpps,size=60-300,fault=rxstall:10000"
buffer = "8MiB"
storage.dirs = %q
[share]
dir = %q
`, t.TempDir(), dir))
	r := open(t, s, daemon.Config{})
	end := r.start(t)
	c := control.NewClient(filepath.Join(dir, "control.sock"))
	t.Cleanup(c.Close)
	received := func() uint64 {
		st, err := c.Status(t.Context())
		require.NoError(t, err)
		return st.Account.Received
	}
	require.Eventually(t, func() bool { return strings.Contains(r.log.Text(), "the device was reset in") }, testtime.Deadline, 10*time.Millisecond)
	before := received()
	require.Eventually(t, func() bool { return received() > before+10000 }, testtime.Deadline, 10*time.Millisecond)
	require.NoError(t, end())
	l := r.Ledgers()[0]
	require.NoError(t, l.Err)
	require.NoError(t, l.Ledger.Balanced())
	require.Greater(t, l.Ledger.Frames(), uint64(20000))
	require.Contains(t, r.log.Text(), "the receive DMA has stopped")
}
