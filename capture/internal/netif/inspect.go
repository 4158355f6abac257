package netif

import "golang.org/x/sys/unix"

// On reports whether a feature is on. An interface without it has it off.
func (i *Interface) On(f Feature) bool {
	v := []uint32{f.get, 0}
	return ethtool(i.fd, i.Name, v) == nil && v[1]&f.bit != 0
}

// Words of struct ethtool_ringparam.
const (
	maxRxPending = 1
	rxPending    = 5
	ringWords    = 9
)

// ReceiveRing returns the number of descriptors of a receive ring of the device, and the
// most that it can have; 0 for a device that does not tell.
func (i *Interface) ReceiveRing() (n, most int) {
	r := make([]uint32, ringWords)
	r[0] = unix.ETHTOOL_GRINGPARAM
	if ethtool(i.fd, i.Name, r) != nil {
		return 0, 0
	}
	return int(r[rxPending]), int(r[maxRxPending])
}

// Missing returns the names of those of the capabilities that the thread lacks.
func Missing(capabilities ...int) (names []string) {
	return absent(effective(), capabilities)
}
