package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/daemon"
	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/capture/daemon/settings"
	"github.com/ixcap/ixcap/internal/testtime"
)

// manager is a service manager that reads notifications.
type manager struct {
	t *testing.T
	*net.UnixConn
}

func newManager(t *testing.T) manager {
	t.Helper()
	path := filepath.Join(folder(t), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return manager{t, c}
}

// next is the next notification.
func (m manager) next() string {
	m.t.Helper()
	require.NoError(m.t, m.SetReadDeadline(time.Now().Add(testtime.Deadline)))
	b := make([]byte, 4096)
	n, err := m.Read(b)
	require.NoError(m.t, err, "no notification")
	return string(b[:n])
}

// reloadable is a Daemon of two ports whose settings a test replaces.
func reloadable(t *testing.T) (r *rig, text func(defaults, more string) string, set func(text string), c *control.Client) {
	t.Helper()
	dir := folder(t)
	text = func(defaults, more string) string {
		return fmt.Sprintf(`
[defaults]
buffer = "8MiB"
%[2]s
[storage]
dirs = "%[1]s/files"
[port.one]
device = "sim:gen,size=60-300,flows=16,rate=1kpps"
[port.two]
device = "sim:gen,size=60,rate=1kpps,seed=2"
[share]
dir = "%[1]s/share"
%[3]s
`, dir, defaults, more)
	}
	var now atomic.Pointer[string]
	set = func(text string) { now.Store(&text) }
	r = open(t, parse(t, text("", "")), daemon.Config{Load: func() (*settings.Settings, error) { return settings.Parse("ixcap.toml", *now.Load()) }})
	c = control.NewClient(filepath.Join(dir, "share", "control.sock"))
	t.Cleanup(c.Close)
	return r, text, set, c
}

// rules are the rules of a port's first queue.
func rules(t *testing.T, c *control.Client, port string) string {
	t.Helper()
	f, err := c.Port(port).Rules(t.Context())
	require.NoError(t, err)
	return f.Queues[0].Rules
}

func TestReloadAppliesWhatCanChangeAndNamesWhatCannot(t *testing.T) {
	m := newManager(t)
	r, text, set, c := reloadable(t)
	end := r.start(t)
	require.Equal(t, "READY=1\nSTATUS=capturing", m.next())

	set(text("rules = \"(udp) 64; (tcp) drop\"\nfifo = 1", "[retention]\nage = \"7d\""))
	require.NoError(t, r.Reload())
	require.Regexp(t, `^RELOADING=1\nMONOTONIC_USEC=\d+$`, m.next())
	require.Equal(t, "READY=1\nSTATUS=capturing", m.next())
	for _, want := range []string{
		"reload: port.one.rules: (udp) 64; (tcp) drop; all instead of none",
		"reload: needs a restart: port.two.fifo: 1 instead of 0",
		"reload: retention.age: 7d instead of 0s",
	} {
		require.Contains(t, r.log.Text(), want)
	}
	require.Contains(t, rules(t, c, "two"), "(udp) 64")

	// What still needs a restart is logged again, what was applied is not.
	require.NoError(t, r.Reload())
	require.Equal(t, 2, strings.Count(r.log.Text(), "needs a restart: port.two.fifo"))
	require.Equal(t, 1, strings.Count(r.log.Text(), "reload: retention.age"))

	// Rules set over the control socket stay where the file has not changed.
	_, err := c.Port("one").SetRules(t.Context(), 0, "96")
	require.NoError(t, err)
	set(text("rules = \"(udp) 64; (tcp) drop\"", "[retention]\nage = \"8d\""))
	require.NoError(t, r.Reload())
	require.Equal(t, "96", rules(t, c, "one"))

	set(text("rules = \"(udp) 64; (tcp) drop\"", "[retention]\nage = \"8d\""))
	require.NoError(t, r.Reload())
	require.Contains(t, r.log.Text(), "reload: no setting has changed")

	for range 3 {
		require.Regexp(t, "^RELOADING=1\n", m.next())
		require.Contains(t, m.next(), "READY=1")
	}
	require.NoError(t, end())
	require.Contains(t, m.next(), "STOPPING=1")
	set(text("", ""))
	require.NoError(t, r.Reload())
	require.NoError(t, m.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err = m.Read(make([]byte, 100))
	require.Error(t, err, "nothing follows STOPPING")
}

func TestReloadWithAMistakeChangesNothing(t *testing.T) {
	r, text, set, c := reloadable(t)
	r.start(t)
	before := rules(t, c, "one")
	for _, bad := range []struct{ text, want string }{
		{text("rules = \"(udp) 65; drop\"\ncolour = 3", "[retention]\nage = \"soon\""), "ixcap.toml:5: "},
		{text("rules = \"(udp) 65; drop\"", "[retention]\nfree = \"1000000TiB\""), "free"},
		{"not TOML", "ixcap.toml:1: "},
	} {
		set(bad.text)
		err := r.Reload()
		require.ErrorContains(t, err, bad.want)
		require.Equal(t, before, rules(t, c, "one"))
		require.NotRegexp(t, regexp.MustCompile("reload: (port|retention)"), r.log.Text())
	}
}

func TestReloadNeedsSettingsThatCanBeLoaded(t *testing.T) {
	r := open(t, parse(t, "[port.a]\ndevice = \"sim:gen,backpressure\"\nbuffer = \"8MiB\"\nstorage.dirs = \"null\""), daemon.Config{})
	require.ErrorContains(t, r.Reload(), "nothing to reload")
	failed := errors.New("no such file")
	r = open(t, parse(t, "[port.a]\ndevice = \"sim:gen,backpressure\"\nbuffer = \"8MiB\"\nstorage.dirs = \"null\""),
		daemon.Config{Load: func() (*settings.Settings, error) { return nil, failed }})
	require.ErrorIs(t, r.Reload(), failed)
}

// A service manager that does not read its socket delays neither the capture nor its end,
// and gets every state once it reads again.
func TestServiceManagerThatDoesNotReadDelaysNothing(t *testing.T) {
	m := newManager(t)
	fill := func() {
		c, err := net.DialUnix("unixgram", nil, m.LocalAddr().(*net.UnixAddr))
		require.NoError(t, err)
		defer c.Close()
		for {
			require.NoError(t, c.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
			if _, err := c.Write([]byte("full")); err != nil {
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
				return
			}
		}
	}
	next := func() (state string) {
		for state = m.next(); state == "full"; state = m.next() {
		}
		return state
	}
	const file = "[port.a]\ndevice = \"sim:gen,rate=1kpps\"\nbuffer = \"8MiB\"\nstorage.dirs = \"null\""
	r := open(t, parse(t, file), daemon.Config{Load: func() (*settings.Settings, error) { return parse(t, file), nil }})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	fill()
	ran := make(chan error, 1)
	go func() { ran <- r.Run(ctx) }()
	eventually := func(text string) {
		require.Eventually(t, func() bool { return strings.Contains(r.log.Text(), text) }, testtime.Deadline, time.Millisecond)
	}
	eventually("it has not read its socket for 1s")
	began := time.Now()
	require.NoError(t, r.Reload())
	require.Less(t, time.Since(began), time.Second, "a reload waits for nothing")
	require.Contains(t, next(), "READY=1")
	require.Contains(t, next(), "RELOADING=1")
	require.Contains(t, next(), "READY=1")

	fill()
	began = time.Now()
	cancel()
	require.NoError(t, <-ran)
	require.Less(t, time.Since(began), testtime.Deadline/2)
}

func TestServiceManagerThatCannotBeReachedIsLoggedOnce(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "none"))
	r := open(t, parse(t, "[port.a]\ndevice = \"sim:gen,count=10,backpressure\"\nbuffer = \"8MiB\"\nstorage.dirs = \"null\""), daemon.Config{})
	require.NoError(t, r.Run(t.Context()))
	require.Equal(t, 1, strings.Count(r.log.Text(), "notify the service manager: "))
}
