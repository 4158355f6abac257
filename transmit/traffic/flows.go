package traffic

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Addresses is a range of addresses of one family.
type Addresses struct {
	text string
	low  netip.Addr
	n    uint64
}

// ParseAddresses parses one address, a prefix "10.0.0.0/24", or a range
// "10.0.0.1-10.0.0.200".
func ParseAddresses(text string) (a Addresses, err error) {
	a.text = text
	if p, err := netip.ParsePrefix(text); err == nil {
		a.low = p.Masked().Addr()
		host := p.Addr().BitLen() - p.Bits()
		a.n = 1 << min(host, 32)
		return a, nil
	}
	low, high, ranged := strings.Cut(text, "-")
	if !ranged {
		high = low
	}
	if a.low, err = netip.ParseAddr(low); err != nil {
		return a, badAddresses(text)
	}
	last, err := netip.ParseAddr(high)
	if err != nil || last.Is4() != a.low.Is4() || last.Less(a.low) || a.low.Is4In6() || a.low.Zone() != "" {
		return a, badAddresses(text)
	}
	from, to := a.low.As16(), last.As16()
	for i := range 12 {
		if from[i] != to[i] {
			return a, fmt.Errorf("addresses %s: more than 2^32", text)
		}
	}
	a.n = uint64(word(to)-word(from)) + 1
	return a, nil
}

func badAddresses(text string) error {
	return fmt.Errorf("addresses %q: want one, a prefix such as 10.0.0.0/24, or a range such as 10.0.0.1-10.0.0.200", text)
}

// word returns the last four bytes of an address.
func word(b [16]byte) uint32 {
	return uint32(b[12])<<24 | uint32(b[13])<<16 | uint32(b[14])<<8 | uint32(b[15])
}

// at returns address i of the range.
func (a Addresses) at(i uint64) netip.Addr {
	b := a.low.As16()
	w := uint64(word(b)) + i
	b[12], b[13], b[14], b[15] = byte(w>>24), byte(w>>16), byte(w>>8), byte(w)
	if a.low.Is4() {
		return netip.AddrFrom16(b).Unmap()
	}
	return netip.AddrFrom16(b)
}

// String returns the text that ParseAddresses reads.
func (a Addresses) String() string { return a.text }

// Set implements pflag.Value.
func (a *Addresses) Set(text string) (err error) {
	*a, err = ParseAddresses(text)
	return err
}

// Type implements pflag.Value.
func (*Addresses) Type() string { return "ADDRESSES" }

// Ports is a range of ports.
type Ports struct {
	low, n uint64
}

// ParsePorts parses one port, or a range "1000-2000".
func ParsePorts(text string) (p Ports, err error) {
	low, high, ranged := strings.Cut(text, "-")
	if !ranged {
		high = low
	}
	from, err1 := strconv.ParseUint(low, 10, 16)
	to, err2 := strconv.ParseUint(high, 10, 16)
	if err1 != nil || err2 != nil || to < from {
		return p, fmt.Errorf("ports %q: want one, or a range such as 1000-2000", text)
	}
	return Ports{from, to - from + 1}, nil
}

// String returns the text that ParsePorts reads.
func (p Ports) String() string {
	if p.n <= 1 {
		return strconv.FormatUint(p.low, 10)
	}
	return fmt.Sprintf("%d-%d", p.low, p.low+p.n-1)
}

// Set implements pflag.Value.
func (p *Ports) Set(text string) (err error) {
	*p, err = ParsePorts(text)
	return err
}

// Type implements pflag.Value.
func (*Ports) Type() string { return "PORTS" }
