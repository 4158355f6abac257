package vfiouser

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/pci/internal/openfiles"
)

// clientsOf returns the processes that the server at path serves, as far as this user may
// see them. The protocol has no message for it, so the kernel is asked for the other ends
// of the server's connections (sock_diag(7)).
func clientsOf(path string) []string {
	var links []string
	peers, _ := peersOf(path)
	for _, ino := range peers {
		links = append(links, fmt.Sprintf("socket:[%d]", ino))
	}
	if len(links) == 0 {
		return nil
	}
	return openfiles.Of("/proc", 0, links...)
}

// Of linux/unix_diag.h and linux/sock_diag.h.
const (
	diagByFamily    = 20
	diagEstablished = 1 << 1 // bit of a state
	diagShowVFS     = 1 << 1
	diagShowPeer    = 1 << 2
	diagVFS         = 1 // attribute: inode and device of the socket file
	diagPeer        = 2 // attribute: inode of the other end
	diagRequest     = 24
	diagMessage     = 16

	diagTimeout = time.Second
)

// peersOf returns the inodes of the other ends of the connections that the server of a
// socket file has accepted.
func peersOf(path string) ([]uint32, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	limit := unix.NsecToTimeval(int64(diagTimeout))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	q := make([]byte, unix.NLMSG_HDRLEN+diagRequest)
	binary.NativeEndian.PutUint32(q, uint32(len(q)))
	binary.NativeEndian.PutUint16(q[4:], diagByFamily)
	binary.NativeEndian.PutUint16(q[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	body := q[unix.NLMSG_HDRLEN:]
	body[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(body[4:], diagEstablished)
	binary.NativeEndian.PutUint32(body[12:], diagShowVFS|diagShowPeer)
	if err := unix.Sendto(fd, q, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	file := socketFile{ino: uint32(st.Ino), dev: unix.Major(st.Dev)<<20 | unix.Minor(st.Dev)}
	var peers []uint32
	b := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(fd, b, 0)
		if err != nil {
			return peers, os.NewSyscallError("recvfrom", err)
		}
		more, done, err := file.peers(b[:n])
		peers = append(peers, more...)
		if done || err != nil {
			return peers, err
		}
	}
}

// socketFile is a file as the kernel names it in unix_diag_vfs.
type socketFile struct{ ino, dev uint32 }

var errDiag = errors.New("sock_diag: invalid message")

// peers returns the inodes of the other ends of those connections among the messages that
// were accepted by the file's server; done: no messages follow.
func (f socketFile) peers(b []byte) (list []uint32, done bool, err error) {
	for len(b) > 0 {
		if len(b) < unix.NLMSG_HDRLEN {
			return list, true, errDiag
		}
		n := int(binary.NativeEndian.Uint32(b))
		if n < unix.NLMSG_HDRLEN || n > len(b) {
			return list, true, errDiag
		}
		switch binary.NativeEndian.Uint16(b[4:]) {
		case unix.NLMSG_DONE:
			return list, true, nil
		case diagByFamily:
			if peer, ok := f.peer(b[unix.NLMSG_HDRLEN:n]); ok {
				list = append(list, peer)
			}
		default:
			return list, true, errDiag
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	return list, false, nil
}

// peer returns the other end of a connection that was accepted by the file's server. One
// that waits in the backlog has no inode.
func (f socketFile) peer(m []byte) (peer uint32, ok bool) {
	if len(m) < diagMessage || binary.NativeEndian.Uint32(m[4:]) == 0 {
		return 0, false
	}
	for a := m[diagMessage:]; len(a) >= 4; {
		n := int(binary.NativeEndian.Uint16(a))
		if n < 4 || n > len(a) {
			return 0, false
		}
		switch v := a[4:n]; binary.NativeEndian.Uint16(a[2:]) {
		case diagVFS:
			ok = len(v) >= 8 && binary.NativeEndian.Uint32(v) == f.ino && binary.NativeEndian.Uint32(v[4:]) == f.dev
		case diagPeer:
			if len(v) >= 4 {
				peer = binary.NativeEndian.Uint32(v)
			}
		}
		a = a[min(len(a), (n+3)&^3):]
	}
	return peer, ok && peer != 0
}
