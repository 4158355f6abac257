package netif

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Feature is an offload of an interface.
type Feature struct {
	name     string // for ethtool -K
	get, set uint32 // commands with a struct ethtool_value
	bit      uint32 // in its data
}

// Features. Flags are those of ETHTOOL_GFLAGS (linux/ethtool.h, enum ethtool_flags).
var (
	GRO    = Feature{"gro", unix.ETHTOOL_GGRO, unix.ETHTOOL_SGRO, 1}
	LRO    = Feature{"lro", unix.ETHTOOL_GFLAGS, unix.ETHTOOL_SFLAGS, 1 << 15}
	RXVLAN = Feature{"rxvlan", unix.ETHTOOL_GFLAGS, unix.ETHTOOL_SFLAGS, 1 << 8} // the device takes VLAN tags out of frames
)

// String returns the name that `ethtool -K` has for the feature.
func (f Feature) String() string { return f.name }

// SwitchOff switches a feature off until Close and reports whether it was on. An
// interface without it, or without ethtool calls, has it off.
func (i *Interface) SwitchOff(f Feature) (was bool, err error) {
	v := []uint32{f.get, 0}
	if err = ethtool(i.fd, i.Name, v); errors.Is(err, unix.EOPNOTSUPP) {
		return false, nil
	}
	before := v[1]
	if err == nil && before&f.bit == 0 {
		return false, nil
	}
	if err == nil {
		err = ethtool(i.fd, i.Name, []uint32{f.set, before &^ f.bit})
	}
	if err != nil {
		return false, fmt.Errorf("switch %s off: %w. See `ethtool -k %s`", f, Needs(err, unix.CAP_NET_ADMIN), i.Name)
	}
	i.atClose("switch "+f.name+" on", func() error { return ethtool(i.fd, i.Name, []uint32{f.set, before}) })
	return true, nil
}

// Words of struct ethtool_channels.
const (
	maxRx = 1 + iota
	maxTx
	maxOther
	maxCombined
	rxCount
	txCount
	otherCount
	combinedCount
	channelWords
)

// ReceiveQueues returns the number of receive queues in use, and the most that the
// interface can have.
func (i *Interface) ReceiveQueues() (n, most int, err error) {
	c := make([]uint32, channelWords)
	c[0] = unix.ETHTOOL_GCHANNELS
	if err := ethtool(i.fd, i.Name, c); errors.Is(err, unix.EOPNOTSUPP) {
		return i.allocated, i.allocated, nil
	} else if err != nil {
		return 0, 0, fmt.Errorf("read the channels: %w", err)
	}
	return max(1, int(c[rxCount]+c[combinedCount])), max(1, int(c[maxRx]), int(c[maxCombined])), nil
}

// SetReceiveQueues sets the number of receive queues until Close, as `ethtool -L` does.
func (i *Interface) SetReceiveQueues(n int) error {
	now, most, err := i.ReceiveQueues()
	if err != nil || now == n {
		return err
	}
	if n > most {
		return fmt.Errorf("%d receive queues: the interface has at most %d. `ethtool -l %s` shows them", n, most, i.Name)
	}
	before := make([]uint32, channelWords)
	before[0] = unix.ETHTOOL_GCHANNELS
	err = ethtool(i.fd, i.Name, before)
	if err == nil {
		before[0] = unix.ETHTOOL_SCHANNELS
		after := append([]uint32(nil), before...)
		if count := combinedCount; before[maxCombined] != 0 {
			after[count], after[rxCount] = uint32(n), 0
		} else {
			after[rxCount] = uint32(n)
		}
		err = ethtool(i.fd, i.Name, after)
	}
	if err != nil {
		return fmt.Errorf("set %d receive queues: %w. See `ethtool -l %s`", n, Needs(err, unix.CAP_NET_ADMIN), i.Name)
	}
	i.atClose(fmt.Sprintf("set %d receive queues", now), func() error { return ethtool(i.fd, i.Name, before) })
	return nil
}

// RSS is how a device chooses the receive queue of a frame (struct ethtool_rxfh).
type RSS struct {
	Function uint8    // ETH_RSS_HASH_TOP (1) is Toeplitz
	Key      []byte   // of the hash function
	Table    []uint32 // indirection: low bits of the hash -> queue
}

const rssWords = 6 // of struct ethtool_rxfh before the table, which the key follows

// RSS returns the device's settings.
func (i *Interface) RSS() (RSS, error) {
	size := make([]uint32, rssWords)
	size[0] = unix.ETHTOOL_GRSSH
	if err := ethtool(i.fd, i.Name, size); err != nil {
		return RSS{}, fmt.Errorf("read the RSS settings: %w", err)
	}
	table, key := int(size[2]), int(size[3])
	if table > 1<<16 || key > 1<<10 {
		return RSS{}, fmt.Errorf("read the RSS settings: impossible sizes, table %d, key %d", table, key)
	}
	all := make([]uint32, rssWords+table+(key+3)/4)
	copy(all, size[:4])
	if err := ethtool(i.fd, i.Name, all); err != nil {
		return RSS{}, fmt.Errorf("read the RSS settings: %w", err)
	}
	r := RSS{Function: uint8(bytesOf(all[4:5])[0]), Table: all[rssWords : rssWords+table]}
	r.Key = bytesOf(all[rssWords+table:])[:key]
	return r, nil
}

func bytesOf(words []uint32) (b []byte) {
	for _, w := range words {
		b = binary.NativeEndian.AppendUint32(b, w)
	}
	return b
}

// SetSymmetric sets the hash key until Close to one that gives both directions of a flow
// the same queue: 16 bits that repeat, so that exchanging addresses, which are a multiple
// of 16 bits apart, or ports changes nothing (Woo and Park, "Scalable TCP Session
// Monitoring with Symmetric Receive-side Scaling", 2012).
func (i *Interface) SetSymmetric() error {
	const toeplitz = 1
	before, err := i.RSS()
	if err == nil && (before.Function != toeplitz && before.Function != 0 || len(before.Key) == 0) {
		err = fmt.Errorf("the hash function %d is not Toeplitz, or has no key", before.Function)
	}
	if err == nil {
		err = i.setKey(symmetric(len(before.Key)))
	}
	if err != nil {
		return fmt.Errorf("set a symmetric RSS key: %w. See `ethtool -x %s`", Needs(err, unix.CAP_NET_ADMIN), i.Name)
	}
	i.atClose("restore the RSS key", func() error { return i.setKey(before.Key) })
	return nil
}

// symmetric returns the key of SetSymmetric.
func symmetric(length int) []byte { return bytes.Repeat([]byte{0x6d, 0x5a}, (length+1)/2)[:length] }

// setKey sets the hash key and leaves the table as it is.
func (i *Interface) setKey(key []byte) error {
	request := make([]uint32, rssWords+(len(key)+3)/4)
	request[0] = unix.ETHTOOL_SRSSH
	request[2] = 1<<32 - 1 // ETH_RXFH_INDIR_NO_CHANGE
	request[3] = uint32(len(key))
	padded := append(append([]byte(nil), key...), 0, 0, 0)
	for n := rssWords; n < len(request); n++ {
		request[n] = binary.NativeEndian.Uint32(padded[4*(n-rssWords):])
	}
	return ethtool(i.fd, i.Name, request)
}

// Bus returns the place of the device, for example its PCI address; "" if it has none.
func (i *Interface) Bus() string {
	info, err := unix.IoctlGetEthtoolDrvinfo(i.fd, i.Name)
	if err != nil {
		return ""
	}
	return unix.ByteSliceToString(info.Bus_info[:])
}
