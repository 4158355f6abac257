package wire

import (
	"encoding/binary"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is the kernel's struct mmsghdr: a message and its length.
type mmsghdr struct {
	unix.Msghdr
	len uint32
	_   uint32
}

const (
	vnetHeader = 10 // struct virtio_net_hdr
	controlLen = 128
)

// batch is the memory of one recvmmsg: per message a virtio_net_hdr, the frame after
// tagRoom free bytes, and control data.
//
// The kernel writes to it only during the call. The slices keep alive what headers
// point to; Go's collector does not move it.
type batch struct {
	headers []mmsghdr
	iovecs  []unix.Iovec // two per message
	vnet    []byte
	frames  []byte
	control []byte
}

func newBatch() *batch {
	b := &batch{
		headers: make([]mmsghdr, packetBatch),
		iovecs:  make([]unix.Iovec, 2*packetBatch),
		vnet:    make([]byte, packetBatch*vnetHeader),
		frames:  make([]byte, packetBatch*packetBytes),
		control: make([]byte, packetBatch*controlLen),
	}
	for i := range b.headers {
		v := b.iovecs[2*i : 2*i+2]
		v[0].Base = &b.vnet[i*vnetHeader]
		v[0].SetLen(vnetHeader)
		v[1].Base = &b.frames[i*packetBytes+tagRoom]
		v[1].SetLen(packetBytes - tagRoom)
		h := &b.headers[i]
		h.Iov = &v[0]
		h.SetIovlen(2)
		h.Control = &b.control[i*controlLen]
	}
	return b
}

// read receives a batch without blocking.
func (b *batch) read(fd int) (int, error) {
	for i := range b.headers {
		b.headers[i].SetControllen(controlLen)
		b.headers[i].Flags = 0
	}
	// headers is an array of the kernel's type, aligned to 8, alive until the call
	// returns.
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.headers[0])), packetBatch, unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// message decodes message i of the last read.
func (b *batch) message(i int) message {
	h := &b.headers[i]
	first := i * packetBytes
	m := message{
		buffer:    b.frames[first : first+packetBytes],
		truncated: h.Flags&unix.MSG_TRUNC != 0 || h.len < vnetHeader,
		offload:   decodeOffload(b.vnet[i*vnetHeader:]),
	}
	if m.truncated {
		return m
	}
	m.data = m.buffer[tagRoom : tagRoom+int(h.len)-vnetHeader]

	control := b.control[i*controlLen:][:min(int(h.Controllen), controlLen)]
	const header = unix.SizeofCmsghdr
	for len(control) >= header {
		// struct cmsghdr: size_t length, int level, int type; 8-byte aligned,
		// read as bytes here.
		length := int(binary.NativeEndian.Uint64(control))
		level, kind := binary.NativeEndian.Uint32(control[8:]), binary.NativeEndian.Uint32(control[12:])
		if length < header || length > len(control) {
			break
		}
		m.control(int(level), int(kind), control[header:length])
		control = control[min((length+7)&^7, len(control)):]
	}
	if m.at == 0 {
		m.at = time.Now().UnixNano()
	}
	return m
}

// control decodes one control message.
func (m *message) control(level, kind int, data []byte) {
	switch {
	case level == unix.SOL_PACKET && kind == unix.PACKET_AUXDATA && len(data) >= 20: // struct tpacket_auxdata
		if status := binary.NativeEndian.Uint32(data); status&unix.TP_STATUS_VLAN_VALID != 0 {
			m.hasTag = true
			m.tci = binary.NativeEndian.Uint16(data[16:])
			if m.tpid = etherVLAN; status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
				m.tpid = binary.NativeEndian.Uint16(data[18:])
			}
		}
	case level == unix.SOL_SOCKET && kind == unix.SO_TIMESTAMPNS && len(data) >= 16: // struct timespec
		m.at = int64(binary.NativeEndian.Uint64(data))*1e9 + int64(binary.NativeEndian.Uint64(data[8:]))
	}
}

// bigEndian16 is htons.
func bigEndian16(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}
