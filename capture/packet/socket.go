package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/internal/netif"
)

// nothing is a socket filter that accepts no frame. One that is not accepted is in no
// counter of the socket.
var nothing = unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}}

// newSource opens a socket with its ring. It receives nothing until start.
func newSource(cfg Config, index int) (_ *source, err error) {
	// Protocol 0 until it is bound: no frames of other interfaces.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", netif.Needs(err, unix.CAP_NET_RAW))
	}
	s := &source{fd: fd, block: cfg.blockSize(), file: os.NewFile(uintptr(fd), "packet socket"), device: cfg.DeviceStamps, stamps: make([]clock.Stamp, maxBatch), headers: make([]byte, maxBatch*headerRoom), rest: make([][]byte, maxBatch)}
	s.awake = s.ready
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.conn, err = s.file.SyscallConn(); err != nil {
		return nil, err
	}
	outgoing := 1
	if cfg.Outgoing {
		outgoing = 0
	}
	stamps := 0 // the kernel's
	if cfg.DeviceStamps {
		stamps = unix.SOF_TIMESTAMPING_RAW_HARDWARE
	}
	for _, o := range []struct {
		name          string
		option, value int
	}{
		{"PACKET_IGNORE_OUTGOING (Linux 4.20)", unix.PACKET_IGNORE_OUTGOING, outgoing},
		{"PACKET_TIMESTAMP", unix.PACKET_TIMESTAMP, stamps},
		{"PACKET_VERSION", unix.PACKET_VERSION, unix.TPACKET_V3},
		{"PACKET_RESERVE", unix.PACKET_RESERVE, 16},  // room for the tag
		{"PACKET_VNET_HDR", unix.PACKET_VNET_HDR, 1}, // it tells a super-frame
	} {
		if err = unix.SetsockoptInt(fd, unix.SOL_PACKET, o.option, o.value); err != nil {
			return nil, fmt.Errorf("set %s: %w", o.name, err)
		}
	}
	if err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &nothing); err != nil {
		return nil, fmt.Errorf("attach filter: %w", err)
	}
	const frame = 2048 // TPACKET_V3 does not use it, but checks it
	err = unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq3{
		Block_size: uint32(s.block), Block_nr: uint32(cfg.Blocks * mebibyte / s.block), Frame_size: frame,
		Frame_nr: uint32(cfg.Blocks * mebibyte / frame), Retire_blk_tov: uint32(cfg.Timeout),
	})
	if err != nil {
		return nil, fmt.Errorf("make a ring of %d MiB: %w. Choose fewer blocks", cfg.Blocks, err)
	}
	if s.mem, err = unix.Mmap(fd, 0, cfg.Blocks*mebibyte, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("map a ring of %d MiB: %w. Choose fewer blocks", cfg.Blocks, err)
	}
	if !cfg.Quiet {
		m := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
		if err = unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m); err != nil {
			return nil, fmt.Errorf("make the interface promiscuous: %w", err)
		}
	}
	return s, nil
}

// bind binds the socket to its interface. Its filter accepts nothing yet.
func (s *source) bind(index int) error {
	var all [2]byte
	binary.BigEndian.PutUint16(all[:], unix.ETH_P_ALL)
	if err := unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16(all[:]), Ifindex: index}); err != nil {
		return fmt.Errorf("bind packet socket: %w", err)
	}
	return nil
}

// join makes sockets share frames. The kernel chooses the number of the group.
func join(sources []*source, how Fanout) error {
	if len(sources) == 1 {
		return nil
	}
	arg := int(how|unix.PACKET_FANOUT_FLAG_UNIQUEID) << 16
	for i, s := range sources {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_FANOUT, arg); err != nil {
			return fmt.Errorf("add socket %d to the fanout group: %w", i, err)
		}
		if i == 0 {
			got, err := unix.GetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_FANOUT)
			if err != nil {
				return fmt.Errorf("read the fanout group: %w", err)
			}
			arg = int(how)<<16 | got&0xffff
		}
	}
	return nil
}
