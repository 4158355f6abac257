package pci

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// VFToken is the UUID that a physical function and its virtual functions share if both are
// bound to vfio-pci: whoever opens one of them must know it (Linux, "vf_token" of
// VFIO_GROUP_GET_DEVICE_FD). The first that opens the physical function sets it.
type VFToken [16]byte

// tokenOption separates a function's name and its token: 0000:03:00.0,vf_token=UUID.
const tokenOption = ",vf_token="

// String formats the token as a UUID: 8, 4, 4, 4 and 12 digits (RFC 9562).
func (t VFToken) String() string {
	s := hex.EncodeToString(t[:])
	return strings.Join([]string{s[:8], s[8:12], s[12:16], s[16:20], s[20:]}, "-")
}

// ParseVFToken parses a UUID.
func ParseVFToken(text string) (t VFToken, err error) {
	digits := strings.ReplaceAll(text, "-", "")
	if len(digits) == 2*len(t) {
		if _, err = hex.Decode(t[:], []byte(digits)); err == nil && t.String() == strings.ToLower(text) {
			return t, nil
		}
	}
	return VFToken{}, fmt.Errorf("vf_token %q: want a UUID, such as uuidgen prints", text)
}

// CutVFToken splits a name of a function from the token behind it, nil if there is none.
func CutVFToken(name string) (function string, token *VFToken, err error) {
	function, text, found := strings.Cut(name, tokenOption)
	if !found {
		return name, nil, nil
	}
	t, err := ParseVFToken(text)
	if err != nil {
		return "", nil, err
	}
	return function, &t, nil
}
