package capfile

import "strconv"

// LinkType is the number of a link-layer header type (tcpdump.org/linktypes.html).
type LinkType uint16

// Ethernet is the link type of frames of IEEE 802.3.
const Ethernet LinkType = 1

var linkNames = map[LinkType]string{
	0: "BSD loopback", 1: "Ethernet", 6: "token ring", 8: "SLIP", 9: "PPP", 10: "FDDI", 50: "PPP with HDLC framing",
	51: "PPPoE", 100: "ATM", 101: "raw IP", 104: "Cisco HDLC", 105: "IEEE 802.11", 107: "Frame Relay",
	108: "OpenBSD loopback", 113: "Linux cooked capture", 119: "Prism", 127: "radiotap", 147: "user 0", 187: "Bluetooth HCI",
	189: "Linux USB", 192: "PPI", 195: "IEEE 802.15.4", 201: "Bluetooth HCI", 220: "Linux USB", 227: "CAN", 228: "IPv4",
	229: "IPv6", 239: "nflog", 249: "USBPcap", 251: "Bluetooth LE", 253: "netlink", 276: "Linux cooked capture 2",
}

// String returns the number and the name, "101 (raw IP)".
func (l LinkType) String() string {
	s := strconv.Itoa(int(l))
	if name := linkNames[l]; name != "" {
		s += " (" + name + ")"
	}
	return s
}

// maxPacket is the length in bytes of the longest valid packet, libpcap's limit for
// the link type.
func (l LinkType) maxPacket() uint32 {
	switch l {
	case 231, 189, 220, 249, 266: // D-Bus, USB
		return 128 << 20
	case 279: // EBHSCR
		return 8 << 20
	}
	return 256 << 10
}
