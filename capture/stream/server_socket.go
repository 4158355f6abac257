package stream

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// socket is a listening socket and its file.
type socket struct {
	path     string
	mode     fs.FileMode
	listener *net.UnixListener
	file     unix.Stat_t
}

const (
	backlog     = 64
	lockTimeout = 500 * time.Millisecond // any user who may read the folder may keep its lock
)

// bind creates the socket and its file. No process can connect before the file has
// the mode requested. The folder is locked during bind, so that of several programs
// that find the socket of a killed one only one replaces it.
func bind(path string, mode fs.FileMode) (_ *socket, err error) {
	if mode&^fs.ModePerm != 0 {
		return nil, fmt.Errorf("mode %v: choose permission bits only", mode)
	}
	addr := &unix.SockaddrUnix{Name: path}
	if longest := len(unix.RawSockaddrUnix{}.Path) - 1; path == "" || path[0] == '@' || len(path) > longest {
		return nil, fmt.Errorf("socket path of %d bytes: choose a file of at most %d", len(path), longest)
	}
	unlock, err := lockFolder(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := removeStale(path, addr); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	// The file gets the socket's mode less the umask; the chmod below widens it in
	// time, because no process can connect before listen.
	if err = unix.Fchmod(fd, uint32(mode)); err != nil {
		return nil, fmt.Errorf("set the socket's mode: %w", err)
	}
	if err = unix.Bind(fd, addr); err != nil {
		return nil, fmt.Errorf("bind: %w", err)
	}
	s := &socket{path: path, mode: mode}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.remove())
		}
	}()
	if err = unix.Lstat(path, &s.file); err != nil {
		return nil, fmt.Errorf("stat the socket: %w", err)
	}
	if err = unix.Chmod(path, uint32(mode)); err != nil {
		return nil, fmt.Errorf("set the socket's mode: %w", err)
	}
	if err = unix.Listen(fd, backlog); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	s.listener = l.(*net.UnixListener)
	return s, nil
}

// removeStale removes a socket file that no process serves any more.
func removeStale(path string, addr *unix.SockaddrUnix) error {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case st.Mode().Type() != fs.ModeSocket:
		return errors.New("the file there is no socket. Choose another path")
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	switch err := unix.Connect(fd, addr); {
	case errors.Is(err, unix.ECONNREFUSED):
		return os.Remove(path)
	case err == nil, errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EPROTOTYPE):
		return errors.New("another program serves this socket. Stop it or choose another path")
	default:
		return fmt.Errorf("check whether another program serves the socket: %w", err)
	}
}

// lockFolder locks a folder against bind in other processes. It goes on without the
// lock if another process keeps it for longer than lockTimeout.
func lockFolder(dir string) (unlock func(), err error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open folder %s: %w", dir, err)
	}
	for until := time.Now().Add(lockTimeout); ; time.Sleep(time.Millisecond) {
		err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = unix.Close(fd) }, nil
		}
		if held := errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR); !held {
			_ = unix.Close(fd)
			return nil, fmt.Errorf("lock folder %s: %w", dir, err)
		}
		if time.Now().After(until) {
			return func() { _ = unix.Close(fd) }, nil
		}
	}
}

// close closes the socket and removes its file.
func (s *socket) close() error { return errors.Join(s.listener.Close(), s.remove()) }

// remove removes the file if it is still this socket's, and not that of another
// program that has replaced it.
func (s *socket) remove() error {
	var st unix.Stat_t
	err := unix.Lstat(s.path, &st)
	if err == nil && st.Dev == s.file.Dev && st.Ino == s.file.Ino {
		err = os.Remove(s.path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// printable replaces the characters of a name that cannot be printed.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
