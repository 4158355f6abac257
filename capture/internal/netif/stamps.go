package netif

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// StampAll has the device stamp all frames that it receives, by its own clock, until
// Close (Documentation/networking/timestamping.rst).
func (i *Interface) StampAll() error {
	const all = 1 << unix.HWTSTAMP_FILTER_ALL
	info, err := unix.IoctlGetEthtoolTsInfo(i.fd, i.Name)
	if errors.Is(err, unix.EOPNOTSUPP) || err == nil && (info.So_timestamping&unix.SOF_TIMESTAMPING_RAW_HARDWARE == 0 || info.Rx_filters&all == 0) {
		return fmt.Errorf("the device does not stamp every frame. `ethtool -T %s` shows what it stamps; the kernel stamps without this", i.Name)
	}
	var before *unix.HwTstampConfig
	if err == nil {
		before, err = unix.IoctlGetHwTstamp(i.fd, i.Name)
	}
	if err == nil {
		after := *before
		after.Rx_filter = unix.HWTSTAMP_FILTER_ALL
		err = unix.IoctlSetHwTstamp(i.fd, i.Name, &after)
	}
	if err != nil {
		return fmt.Errorf("have the device stamp frames: %w. See `ethtool -T %s`", Needs(err, unix.CAP_NET_ADMIN), i.Name)
	}
	i.atClose("restore the stamps of the device", func() error { return unix.IoctlSetHwTstamp(i.fd, i.Name, before) })
	return nil
}
