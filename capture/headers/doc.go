// Package headers finds the headers of a frame, from the outside to the inside:
//
//	h.Parse(frame)            Ethernet │ VLAN tags │ IP, extension headers │ transport
//	h.Inner(frame, tunnels)   the packet inside a tunnel, until it returns false
//
// Each step leaves offsets of one packet. A header that is cut or malformed ends the
// walk: what was found before stays. No frame, however it is made, is read outside its
// bytes, and the number of headers followed is bounded.
//
// Nothing is allocated.
package headers
