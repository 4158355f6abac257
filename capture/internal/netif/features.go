package netif

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// XDP are the XDP features of an interface's driver (linux/netdev.h, Linux 6.3).
type XDP struct {
	Redirect bool // native programs, and redirection by them
	ZeroCopy bool // AF_XDP sockets without a copy
	Pieces   bool // frames of several buffers
	Tag      bool // tells a program the VLAN tag that the device took out of a frame
	Stamp    bool // tells a program when the device received a frame
}

// Attributes and bits of linux/netdev.h.
const (
	version     = 1 // NETDEV_FAMILY_VERSION
	devGet      = 1 // NETDEV_CMD_DEV_GET
	devIndex    = 1 // NETDEV_A_DEV_IFINDEX
	devFeatures = 3 // NETDEV_A_DEV_XDP_FEATURES
	devMetadata = 5 // NETDEV_A_DEV_XDP_RX_METADATA_FEATURES

	actRedirect = 2 // NETDEV_XDP_ACT_REDIRECT
	actZeroCopy = 8
	actPieces   = 32 // NETDEV_XDP_ACT_RX_SG

	metadataStamp = 1 // NETDEV_XDP_RX_METADATA_TIMESTAMP
	metadataTag   = 4
)

// header is struct genlmsghdr: command, version, and two bytes that must be 0. The
// nl.Genlmsg of the library sends two bytes of other memory there, which this family
// refuses.
type header [nl.SizeofGenlmsg]byte

func (h header) Len() int          { return len(h) }
func (h header) Serialize() []byte { return h[:] }

// XDP returns the driver's features. An error means that the kernel cannot tell them. It
// is called from the namespace of the interface.
func (i *Interface) XDP() (x XDP, err error) {
	family, err := netlink.GenlFamilyGet("netdev")
	if err != nil {
		return x, fmt.Errorf("ask the kernel for features of XDP (Linux 6.3): %w", err)
	}
	request := nl.NewNetlinkRequest(int(family.ID), 0)
	request.AddData(header{devGet, version})
	request.AddData(nl.NewRtAttr(devIndex, nl.Uint32Attr(uint32(i.Index))))
	answers, err := request.Execute(unix.NETLINK_GENERIC, 0)
	if err == nil && (len(answers) == 0 || len(answers[0]) < nl.SizeofGenlmsg) {
		err = errors.New("no answer")
	}
	if err != nil {
		return x, fmt.Errorf("ask the kernel for features of XDP: %w", err)
	}
	attributes, err := nl.ParseRouteAttr(answers[0][nl.SizeofGenlmsg:])
	if err != nil {
		return x, fmt.Errorf("ask the kernel for features of XDP: %w", err)
	}
	for _, a := range attributes {
		if len(a.Value) < 8 {
			continue
		}
		switch v := binary.NativeEndian.Uint64(a.Value); a.Attr.Type {
		case devFeatures:
			x.Redirect, x.ZeroCopy, x.Pieces = v&actRedirect != 0, v&actZeroCopy != 0, v&actPieces != 0
		case devMetadata:
			x.Tag, x.Stamp = v&metadataTag != 0, v&metadataStamp != 0
		}
	}
	return x, nil
}
