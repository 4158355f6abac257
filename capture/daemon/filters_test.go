package daemon_test

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/daemon"
	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/capture/daemon/settings"
	"github.com/ixcap/ixcap/internal/testtime"
)

// filtered is a Daemon of a port with filters that a reload changes.
func filtered(t *testing.T, device string) (r *rig, set func(filters string), c *control.Client) {
	t.Helper()
	dir := folder(t)
	var now atomic.Pointer[string]
	load := func() (*settings.Settings, error) {
		return settings.Parse("f", fmt.Sprintf(`
[port.a]
device = %q
buffer = "8MiB"
port_filters = %q
rules = "(ip src net 198.18.0.0/25) drop"
storage.dirs = "null"
[share]
dir = %q
`, device, *now.Load(), dir+"/share"))
	}
	set = func(filters string) { now.Store(&filters) }
	set("none")
	s, err := load()
	require.NoError(t, err)
	r = open(t, s, daemon.Config{Load: load})
	c = control.NewClient(filepath.Join(dir, "share", "control.sock"))
	t.Cleanup(c.Close)
	return r, set, c
}

// Filters that come and go cost no frame that none of them names, whoever sets them.
func TestPortFiltersChangeUnderACapture(t *testing.T) {
	const count = 480 * 256
	r, set, c := filtered(t, fmt.Sprintf("sim:gen,size=100,flows=256,count=%d,backpressure", count))
	ran := make(chan error, 1)
	go func() { ran <- r.Run(t.Context()) }()
	var err error
	for i, done := 0, false; !done; i++ {
		text := []string{"(ip src host 198.18.0.1) drop; (ip src host 198.18.0.2) queue 0", "none"}[i/2%2]
		if i%2 == 0 {
			if _, err := c.SetFilters(t.Context(), text); err != nil {
				require.ErrorContains(t, err, "the capture is over")
			}
		} else {
			set(text + "; ")
			if text == "none" {
				set("(ip src host 198.18.0.3) drop")
			}
			require.NoError(t, r.Reload())
		}
		select {
		case err = <-ran:
			done = true
		default:
		}
	}
	require.NoError(t, err)
	l := r.Ledgers()[0].Ledger
	require.NoError(t, l.Balanced())
	require.Zero(t, l.Lost())
	require.EqualValues(t, count, l.Account.Wire)
	require.NotZero(t, l.Account.Filtered, "the port has dropped some")
	require.EqualValues(t, uint64(count/2), l.Queues[0].Stored, "half of the flows meet no filter and no rule")
}

func TestPortFiltersAreShownWithWhatSoftwareDrops(t *testing.T) {
	r, set, c := filtered(t, "sim:gen,size=100,flows=256,rate=20kpps")
	end := r.start(t)
	f, err := c.Filters(t.Context())
	require.NoError(t, err)
	require.Equal(t, "none", f.Filters)

	// What only the Flow Director compares, which this port has not, is left to software.
	const text = "(ip src host 198.18.0.200 or ip src net 198.18.0.128/26) drop"
	f, err = c.SetFilters(t.Context(), text)
	require.NoError(t, err)
	require.Equal(t, text, f.Filters)
	require.Equal(t, []control.FilterKind{{Kind: "5-tuple filter", Filters: 1}}, f.Rules[0].Chip)
	require.Len(t, f.Rules[0].Software, 1)
	require.Contains(t, f.Rules[0].Software[0], "restart the capture")
	_, err = c.SetRules(t.Context(), 0, "(udp) 64; drop")
	require.NoError(t, err)
	require.Equal(t, text+"; (udp) 64; drop", rules(t, c, "a"), "rules do not replace filters")
	require.Eventually(t, func() bool {
		s, err := c.Status(t.Context())
		require.NoError(t, err)
		return s.Filters[0].Dropped > 10 && s.Account.Filtered > 10
	}, testtime.Deadline, time.Millisecond)

	for text, want := range map[string]string{
		"(vlan 7) drop": "restart the capture", "(not udp) drop": `does not compare "not"`, "(udp) queue 1": "queue 1: want 0 to 0", "udp": "an expression in parentheses", "": "filters of the port: none",
	} {
		_, err = c.SetFilters(t.Context(), text)
		require.ErrorContains(t, err, want)
	}
	set("(vlan 7) drop")
	require.NoError(t, r.Reload())
	require.Contains(t, r.log.Text(), "reload: needs a restart: port.a.port_filters: (vlan 7) drop instead of none")
	set("(udp and src port 1) drop")
	require.NoError(t, r.Reload())
	require.Contains(t, r.log.Text(), "reload: port.a.port_filters: (udp and src port 1) drop instead of none")
	require.Contains(t, r.log.Text(), "port filter (udp and src port 1) drop: in the chip: 1 5-tuple filter; not in the chip: fragments, IPv6")
	require.Equal(t, "(udp and src port 1) drop; (udp) 64; drop", rules(t, c, "a"), "rules of the control socket stay")
	require.NoError(t, end())
	l := r.Ledgers()[0].Ledger
	require.NoError(t, l.Balanced())
	require.Zero(t, l.Lost())
}
