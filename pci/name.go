package pci

import (
	"fmt"
	"strconv"
)

// Address is the address of a function: domain, bus, device and function number.
type Address struct {
	Domain   uint32 // 16 bits; more behind a VMD controller
	Bus      uint8
	Device   uint8 // 0-31
	Function uint8 // 0-7
}

// String formats the address as the kernel does: 0000:03:00.0.
func (a Address) String() string {
	return fmt.Sprintf("%04x:%02x:%02x.%x", a.Domain, a.Bus, a.Device, a.Function)
}

// MarshalText formats the address as String does, for JSON.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// Compare orders addresses by domain, bus, device and function.
func (a Address) Compare(b Address) int {
	key := func(a Address) uint64 {
		return uint64(a.Domain)<<16 | uint64(a.Bus)<<8 | uint64(a.Device)<<3 | uint64(a.Function)
	}
	switch ka, kb := key(a), key(b); {
	case ka < kb:
		return -1
	case ka > kb:
		return 1
	default:
		return 0
	}
}

// ParseAddress parses an address in the kernel's format, with domain.
func ParseAddress(s string) (Address, error) {
	bad := func(why string) (Address, error) {
		return Address{}, fmt.Errorf("PCI address %q: %s; want domain:bus:device.function in hexadecimal, such as 0000:03:00.0", s, why)
	}
	const tail = len(":03:00.0")
	n := len(s) - tail // digits of the domain
	if n < 0 || s[n] != ':' || s[n+3] != ':' || s[n+6] != '.' {
		if len(s) == len("03:00.0") {
			if _, err := ParseAddress("0000:" + s); err == nil {
				return bad("the domain is missing (most likely 0000:" + s + ")")
			}
		}
		return bad("malformed")
	}
	if n < 4 || n > 8 {
		return bad("the domain has 4 to 8 digits")
	}
	if n > 4 && s[0] == '0' {
		return bad("the domain has leading zeros beyond 4 digits")
	}
	var field [4]uint64
	for i, text := range []string{s[:n], s[n+1 : n+3], s[n+4 : n+6], s[n+7:]} {
		for _, c := range []byte(text) {
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
				return bad("not hexadecimal")
			}
		}
		field[i], _ = strconv.ParseUint(text, 16, 32) // up to 8 hexadecimal digits always fit
	}
	if field[2] > 31 {
		return bad("a bus has devices 00 to 1f")
	}
	if field[3] > 7 {
		return bad("a device has functions 0 to 7")
	}
	return Address{uint32(field[0]), uint8(field[1]), uint8(field[2]), uint8(field[3])}, nil
}

// className names a class code (PCI Code and ID Assignment Specification).
func className(class uint32) string {
	switch class >> 8 {
	case 0x0200:
		return "Ethernet controller"
	case 0x0280:
		return "network controller"
	case 0x0604:
		return "PCI bridge"
	}
	switch class >> 16 {
	case 0x01:
		return "storage controller"
	case 0x02:
		return "network controller"
	case 0x03:
		return "display controller"
	case 0x06:
		return "bridge"
	}
	return fmt.Sprintf("class %06x", class)
}
