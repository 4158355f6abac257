package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// listen listens at a UNIX socket that has its mode from the beginning.
func listen(path string, mode fs.FileMode) (*socket, error) {
	if mode == 0 {
		mode = defaultMode
	}
	if len(path) > maxPath {
		return nil, fmt.Errorf("socket %s: the path has %d bytes, UNIX sockets have room for %d: choose a shorter one", path, len(path), maxPath)
	}
	switch c, err := net.Dial("unix", path); {
	case err == nil, errors.Is(err, unix.EAGAIN): // its queue of connections is full
		if c != nil {
			_ = c.Close() // it was only a test for a server
		}
		return nil, fmt.Errorf("socket %s: another program serves this socket; stop it or choose another folder", path)
	case errors.Is(err, unix.ECONNREFUSED):
		if st, err := os.Lstat(path); err == nil && st.Mode().Type() == fs.ModeSocket {
			if err := os.Remove(path); err != nil {
				return nil, err
			}
		}
	}
	// The file gets the socket's mode less the umask, so it is never more open than
	// wanted.
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var refused error
		err := c.Control(func(fd uintptr) { refused = unix.Fchmod(int(fd), uint32(mode.Perm())) })
		return errors.Join(err, refused)
	}}
	s, err := private.Listen(context.Background(), "unix", path)
	if err != nil {
		if e := (*net.OpError)(nil); errors.As(err, &e) {
			err = e.Err
		}
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	l := &socket{UnixListener: s.(*net.UnixListener), path: path}
	l.SetUnlinkOnClose(false)
	l.file, err = os.Lstat(path)
	if err == nil {
		err = os.Chmod(path, mode.Perm()) // adds what the umask removed
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// socket is a listener that removes its file when it is closed.
type socket struct {
	*net.UnixListener
	path string
	file fs.FileInfo
	once sync.Once
}

// Close closes the socket, and removes it unless another file has its path.
func (l *socket) Close() error {
	err := net.ErrClosed
	l.once.Do(func() {
		if now, e := os.Lstat(l.path); e == nil && os.SameFile(now, l.file) {
			err = os.Remove(l.path)
		} else {
			err = nil
		}
		if e := l.UnixListener.Close(); err == nil {
			err = e
		}
	})
	return err
}

type peerKey struct{}

// withPeer adds the peer's credentials, which the kernel knows.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	if raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }) != nil || err != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, cred)
}

// client names the process at the other end, with its user.
func client(ctx context.Context) string {
	if c, ok := ctx.Value(peerKey{}).(*unix.Ucred); ok {
		return fmt.Sprintf("%s (pid %d)", userName(int(c.Uid)), c.Pid)
	}
	return "an unknown process"
}
