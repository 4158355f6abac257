package netif

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// link is what the kernel tells of an interface (rtnetlink(7)).
type link struct {
	flags   uint32 // IFF_...
	downs   uint32 // times that it lost its carrier (IFLA_CARRIER_DOWN_COUNT, Linux 4.16)
	counted bool   // downs and the following are known
	errors  uint64 // rx_errors
	missed  uint64 // rx_missed_errors
}

// Offsets in struct rtnl_link_stats64 of linux/if_link.h.
const (
	statsErrors = 4 * 8
	statsMissed = 15 * 8
)

// parseLink reads an RTM_NEWLINK message without its header. It returns the index of the
// interface.
func parseLink(b []byte) (index int, l link, err error) {
	if len(b) < unix.SizeofIfInfomsg {
		return 0, l, fmt.Errorf("link message of %d bytes: want %d or more", len(b), unix.SizeofIfInfomsg)
	}
	// ParseRouteAttr expects that the last attribute is padded, as the kernel's is.
	if over := len(b) % unix.NLMSG_ALIGNTO; over != 0 {
		b = append(b[:len(b):len(b)], make([]byte, unix.NLMSG_ALIGNTO-over)...)
	}
	m := nl.DeserializeIfInfomsg(b)
	attributes, err := nl.ParseRouteAttr(b[unix.SizeofIfInfomsg:])
	if err != nil {
		return 0, l, fmt.Errorf("link message: %w", err)
	}
	l.flags = m.Flags
	for _, a := range attributes {
		switch {
		case a.Attr.Type == unix.IFLA_CARRIER_DOWN_COUNT && len(a.Value) >= 4:
			l.downs = binary.NativeEndian.Uint32(a.Value)
		case a.Attr.Type == unix.IFLA_STATS64 && len(a.Value) >= statsMissed+8:
			l.counted = true
			l.errors = binary.NativeEndian.Uint64(a.Value[statsErrors:])
			l.missed = binary.NativeEndian.Uint64(a.Value[statsMissed:])
		}
	}
	return int(m.Index), l, nil
}

// links asks the kernel for an interface, and is told its changes.
type links struct {
	asks   int      // socket of requests
	tells  *os.File // socket of changes, in the runtime's poller
	fd     int      // of tells
	seq    uint32
	buffer [32 << 10]byte
}

// errNoLink means that there is no such interface.
var errNoLink = errors.New("no such interface")

// openLinks opens the sockets in the network namespace of the calling thread.
func openLinks() (_ *links, err error) {
	l := &links{asks: -1, fd: -1}
	defer func() {
		if err != nil {
			err = fmt.Errorf("open netlink: %w", errors.Join(err, l.close()))
		}
	}()
	if l.asks, err = netlinkSocket(0); err != nil {
		return nil, err
	}
	if l.fd, err = netlinkSocket(unix.RTMGRP_LINK); err != nil {
		return nil, err
	}
	l.tells = os.NewFile(uintptr(l.fd), "netlink")
	return l, nil
}

func netlinkSocket(groups uint32) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// receive receives messages and calls each for them until the socket is empty. An
// overflow, which has lost messages, is returned after that.
func (l *links) receive(fd int, each func(m *syscall.NetlinkMessage)) (err error) {
	for {
		n, _, e := unix.Recvfrom(fd, l.buffer[:], unix.MSG_DONTWAIT)
		switch {
		case e == unix.EINTR:
			continue
		case e == unix.ENOBUFS:
			err = e
			continue
		case e == unix.EAGAIN:
			return err
		case e != nil:
			return e
		}
		messages, e := syscall.ParseNetlinkMessage(l.buffer[:n])
		if e != nil {
			return e
		}
		for i := range messages {
			each(&messages[i])
		}
	}
}

// changes calls each with what the kernel has told of an interface since the last call,
// oldest first. It returns ENOBUFS if changes were lost, and errNoLink if the interface
// may have been removed.
func (l *links) changes(index int, each func(link)) error {
	removed := false
	err := l.receive(l.fd, func(m *syscall.NetlinkMessage) {
		if m.Header.Type != unix.RTM_NEWLINK && m.Header.Type != unix.RTM_DELLINK {
			return
		}
		i, of, err := parseLink(m.Data)
		switch {
		case err != nil || i != index:
		case m.Header.Type == unix.RTM_DELLINK:
			removed = true // or only no port of a bridge any more
		default:
			each(of)
		}
	})
	if err == nil && removed {
		err = errNoLink
	}
	return err
}

// get asks for an interface. The kernel's answer is there when the request is sent.
func (l *links) get(index int) (of link, err error) {
	l.seq++
	r := nl.NetlinkRequest{NlMsghdr: unix.NlMsghdr{
		Len: unix.SizeofNlMsghdr, Type: unix.RTM_GETLINK, Flags: unix.NLM_F_REQUEST, Seq: l.seq,
	}}
	m := nl.NewIfInfomsg(unix.AF_UNSPEC)
	m.Index = int32(index)
	r.AddData(m)
	if err := unix.Sendto(l.asks, r.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return of, err
	}
	err = errors.New("no answer")
	e := l.receive(l.asks, func(m *syscall.NetlinkMessage) {
		switch {
		case m.Header.Seq != l.seq:
		case m.Header.Type == unix.RTM_NEWLINK:
			_, of, err = parseLink(m.Data)
		case m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4:
			if err = syscall.Errno(-int32(binary.NativeEndian.Uint32(m.Data))); err == unix.ENODEV {
				err = errNoLink
			}
		}
	})
	if err != nil && e != nil {
		err = e
	}
	return of, err
}

// wait calls f when changes may have been told, until it returns true or end is called.
func (l *links) wait(f func() bool) {
	conn, err := l.tells.SyscallConn()
	if err == nil {
		_ = conn.Read(func(uintptr) bool { return f() })
	}
}

func (l *links) end() { _ = l.tells.SetReadDeadline(past) }

func (l *links) close() error {
	var errs []error
	if l.asks >= 0 {
		errs = append(errs, unix.Close(l.asks))
	}
	if l.tells != nil {
		errs = append(errs, l.tells.Close())
	}
	return errors.Join(errs...)
}
