package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/capture/stream"
)

// stalledLogs are standard errors that nothing can be written to.
var stalledLogs = map[string]func(*testing.T) *os.File{
	"terminal that is stopped": stoppedTerminal,
	"pipe that is not read":    func(t *testing.T) *os.File { _, w := unreadPipe(t); return w },
	"socket that is not read":  func(t *testing.T) *os.File { _, w := socket(t); fillUp(t, w); return w },
	"pipe without a reader": func(t *testing.T) *os.File {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		require.NoError(t, r.Close())
		t.Cleanup(func() { w.Close() })
		return w
	},
	"dead socket": func(t *testing.T) *os.File {
		peer, w := socket(t)
		require.NoError(t, peer.Close())
		return w
	},
	"full disk": func(t *testing.T) *os.File {
		f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	},
}

// fillUp fills a pipe, socket or terminal until it has no room. Its descriptor stays
// one that blocks.
func fillUp(t *testing.T, f *os.File) {
	t.Helper()
	fd := int(f.Fd())
	require.NoError(t, unix.SetNonblock(fd, true))
	for _, size := range []int{1 << 10, 1} {
		for err := error(nil); err == nil; {
			_, err = unix.Write(fd, make([]byte, size))
			require.True(t, err == nil || err == unix.EAGAIN, "%v", err)
		}
	}
	require.NoError(t, unix.SetNonblock(fd, false))
}

// unreadPipe returns a pipe that is full.
func unreadPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	fillUp(t, w)
	return r, w
}

// socket returns the ends of a stream socket, as standard error is to systemd's journal.
func socket(t *testing.T) (peer, w *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	peer, w = os.NewFile(uintptr(fds[0]), "peer"), os.NewFile(uintptr(fds[1]), "socket")
	t.Cleanup(func() { peer.Close(); w.Close() })
	return peer, w
}

// terminal returns the two ends of a pseudo terminal: what stands for the keyboard and
// screen, and what programs have.
func terminal(t *testing.T) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { screen.Close(); tty.Close() })
	return screen, tty
}

// stoppedTerminal returns a terminal at which Ctrl-S was pressed.
func stoppedTerminal(t *testing.T) *os.File {
	t.Helper()
	screen, tty := terminal(t)
	_, err := screen.Write([]byte{'s' & 0x1f})
	require.NoError(t, err)
	fd := int(tty.Fd())
	require.NoError(t, unix.SetNonblock(fd, true))
	eventually(t, "the terminal is not stopped", func() bool {
		_, err := unix.Write(fd, []byte("x"))
		return err == unix.EAGAIN
	})
	require.NoError(t, unix.SetNonblock(fd, false))
	return tty
}

// framesSoFar is the number of frames of all queues so far.
func framesSoFar(t *testing.T, c *control.Client) (n uint64) {
	t.Helper()
	s, err := c.Status(t.Context())
	require.NoError(t, err)
	for _, q := range s.Queues {
		n += q.Stored
	}
	return n
}

// waitStored waits until more frames are stored.
func waitStored(t *testing.T, c *control.Client, more uint64) {
	t.Helper()
	before := framesSoFar(t, c)
	eventually(t, "frames do not flow", func() bool { return framesSoFar(t, c) >= before+more })
}

// controlled waits until a capture that shares its frames in a folder serves the control
// socket, and returns a client.
func controlled(t *testing.T, share string) *control.Client {
	t.Helper()
	c := control.NewClient(filepath.Join(share, "control.sock"))
	t.Cleanup(c.Close)
	eventually(t, "the capture does not start", func() bool {
		s, err := c.Status(t.Context())
		return err == nil && !s.Since.IsZero()
	})
	return c
}

// killListener attaches a lossless listener of another process that reads nothing more
// after its first frame, and kills it.
func killListener(t *testing.T, share string) {
	t.Helper()
	p := startClient(t, client{Socket: filepath.Join(share, "queue0.sock"), Name: "dies", Options: stream.Options{Policy: stream.Lossless}, PauseAt: 1})
	p.end(unix.SIGKILL)
}

// silence opens connections that send the beginning of a request, or nothing, and read
// nothing until the end of the test.
func silence(t *testing.T, network, address, request string, n int) {
	t.Helper()
	for range n {
		c, err := net.DialTimeout(network, address, time.Second)
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		if request != "" {
			_, err = c.Write([]byte(request))
			require.NoError(t, err)
		}
	}
}

// freeAddress returns a local address that nothing listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// unreadNotifications returns the path of a service manager's socket that is full.
func unreadNotifications(t *testing.T) string {
	t.Helper()
	path := filepath.Join(shortDir(t), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	w, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	defer w.Close()
	for err == nil {
		require.NoError(t, w.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
		_, err = w.Write([]byte("x"))
	}
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	return path
}

// waitOpened waits until a program has opened a file of a folder.
func waitOpened(t *testing.T, p *program, dir string) {
	t.Helper()
	eventually(t, "no file is opened", func() bool {
		open, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.Process.Pid))
		require.NoError(t, err)
		return slices.ContainsFunc(open, func(fd string) bool {
			path, err := os.Readlink(fd)
			return err == nil && strings.HasPrefix(path, dir+"/")
		})
	})
}
