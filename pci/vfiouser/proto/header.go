package proto

import (
	"encoding/binary"
	"fmt"
	"syscall"
)

// Command is a message's command number.
type Command uint16

const (
	Version       Command = 1
	DMAMap        Command = 2
	DMAUnmap      Command = 3
	GetInfo       Command = 4
	GetRegionInfo Command = 5
	GetRegionFDs  Command = 6
	GetIRQInfo    Command = 7
	SetIRQs       Command = 8
	RegionRead    Command = 9
	RegionWrite   Command = 10
	DMARead       Command = 11 // server to client
	DMAWrite      Command = 12 // server to client
	DeviceReset   Command = 13
	WriteMulti    Command = 15
	DeviceFeature Command = 16
	MigDataRead   Command = 17
	MigDataWrite  Command = 18
)

var commandNames = [...]string{
	Version: "VERSION", DMAMap: "DMA_MAP", DMAUnmap: "DMA_UNMAP",
	GetInfo: "DEVICE_GET_INFO", GetRegionInfo: "DEVICE_GET_REGION_INFO",
	GetRegionFDs: "DEVICE_GET_REGION_IO_FDS", GetIRQInfo: "DEVICE_GET_IRQ_INFO",
	SetIRQs: "DEVICE_SET_IRQS", RegionRead: "REGION_READ", RegionWrite: "REGION_WRITE",
	DMARead: "DMA_READ", DMAWrite: "DMA_WRITE", DeviceReset: "DEVICE_RESET",
	WriteMulti: "REGION_WRITE_MULTI", DeviceFeature: "DEVICE_FEATURE",
	MigDataRead: "MIG_DATA_READ", MigDataWrite: "MIG_DATA_WRITE",
}

// Known reports whether the protocol defines the command.
func (c Command) Known() bool { return int(c) < len(commandNames) && commandNames[c] != "" }

func (c Command) String() string {
	if c.Known() {
		return commandNames[c]
	}
	return fmt.Sprintf("command %d", uint16(c))
}

// Flags of a header. The low four bits are the message's type.
const (
	TypeMask    uint32 = 0xf
	TypeCommand uint32 = 0
	TypeReply   uint32 = 1
	NoReply     uint32 = 1 << 4
	ErrorFlag   uint32 = 1 << 5
)

// HeaderSize is the length of a message's header in bytes.
const HeaderSize = 16

// Header precedes every message. Size counts the header too.
type Header struct {
	ID      uint16
	Command Command
	Size    uint32
	Flags   uint32
	Errno   uint32
}

// IsReply reports whether the message is a reply.
func (h Header) IsReply() bool { return h.Flags&TypeMask == TypeReply }

// Err returns the error of a reply, nil if it has none. An error flag without number is
// EIO; an invalid number is EINVAL.
func (h Header) Err() error {
	switch {
	case h.Flags&ErrorFlag == 0:
		return nil
	case h.Errno == 0:
		return syscall.EIO
	case h.Errno > maxErrno:
		return syscall.EINVAL
	}
	return syscall.Errno(h.Errno)
}

// maxErrno is the largest error number Linux returns (MAX_ERRNO).
const maxErrno = 4095

var order = binary.NativeEndian

// Append appends the header, 16 bytes, to b.
func (h Header) Append(b []byte) []byte {
	b = order.AppendUint16(b, h.ID)
	b = order.AppendUint16(b, uint16(h.Command))
	b = order.AppendUint32(b, h.Size)
	b = order.AppendUint32(b, h.Flags)
	return order.AppendUint32(b, h.Errno)
}

// ParseHeader decodes a header, 16 bytes, without checking its fields: a receiver replies
// to a message with an invalid Size.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, short("header", len(b), HeaderSize)
	}
	return Header{
		ID:      order.Uint16(b),
		Command: Command(order.Uint16(b[2:])),
		Size:    order.Uint32(b[4:]),
		Flags:   order.Uint32(b[8:]),
		Errno:   order.Uint32(b[12:]),
	}, nil
}

// A LayoutError reports a body without the layout of its command. It wraps EINVAL, the
// error number for the reply.
type LayoutError struct{ what string }

func (e *LayoutError) Error() string { return e.what }

// Unwrap returns the error number for the reply.
func (e *LayoutError) Unwrap() error { return syscall.EINVAL }

func short(what string, got, want int) error {
	return &LayoutError{fmt.Sprintf("%s: %d bytes, want at least %d", what, got, want)}
}

func bad(format string, a ...any) error { return &LayoutError{fmt.Sprintf(format, a...)} }
