// Package ether holds the numbers of protocols that several packages of a capture
// read in frames:
//
//	destination, source │ Type │ ... IPv4, IPv6 │ Proto │ ... TCP, UDP, SCTP
package ether

// Types of Ethernet, IEEE 802.3 clause 3.2.6.
const (
	TypeIPv4    = 0x0800
	TypeARP     = 0x0806
	TypeRARP    = 0x8035
	TypeVLAN    = 0x8100 // 802.1Q
	TypeIPv6    = 0x86dd
	TypeMPLS    = 0x8847
	TypeMPLSUp  = 0x8848 // with labels that the upstream router assigned
	TypePPPoED  = 0x8863 // discovery
	TypePPPoES  = 0x8864 // session
	TypeQinQ    = 0x88a8 // 802.1ad
	TypeQinQOld = 0x9100 // before 802.1ad

	MaxLength = 1500 // up to here a type field is the length of an LLC frame
)

// Numbers of IP protocols and of IPv6 headers, from IANA's registry.
const (
	ProtoHopByHop    = 0
	ProtoICMP        = 1
	ProtoIGMP        = 2
	ProtoIPv4        = 4 // a packet in a packet
	ProtoTCP         = 6
	ProtoIGRP        = 9
	ProtoUDP         = 17
	ProtoIPv6        = 41 // a packet in a packet
	ProtoRouting     = 43
	ProtoFragment    = 44
	ProtoGRE         = 47
	ProtoESP         = 50
	ProtoAH          = 51
	ProtoICMPv6      = 58
	ProtoDestination = 60
	ProtoPIM         = 103
	ProtoVRRP        = 112
	ProtoSCTP        = 132
	ProtoMobility    = 135
	ProtoMPLS        = 137
	ProtoHIP         = 139
	ProtoShim6       = 140
)

// IsVLAN reports whether a type is that of a VLAN tag.
func IsVLAN(typ uint16) bool { return typ == TypeVLAN || typ == TypeQinQ || typ == TypeQinQOld }
