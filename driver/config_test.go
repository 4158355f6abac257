package driver_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/driver/drivertest"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/pci"
)

func TestInvalidConfigIsAnErrorOfOneLine(t *testing.T) {
	for want, c := range map[string]driver.Config{
		"queues 99: want 1 to 64":                                              {Queues: 99},
		"queues -1: want 1 to 64":                                              {Queues: -1},
		"transmit queues 17: want 0 to 16":                                     {TxQueues: 17},
		"ring of 100 descriptors: want a multiple of 8":                        {RingSize: 100},
		"ring of 8192 descriptors":                                             {RingSize: 8192},
		"transmit ring of 7 descriptors":                                       {TxRingSize: 7},
		"packet buffers of 1500 bytes: want a multiple of 1024":                {BufferSize: 1500},
		"packet buffers of 32768 bytes":                                        {BufferSize: 32 << 10},
		"longest frame of 59 bytes: want 60 to":                                {MaxFrame: 59},
		"longest frame of 16000 bytes: want 60 to 15868":                       {MaxFrame: 16000},
		"receive ring of 8 descriptors: a frame of 15868 bytes takes 8":        {RingSize: 8},
		"transmit ring of 8 descriptors: too small for a frame of 15868 bytes": {TxQueues: 1, TxRingSize: 8},
		"speed 100 Mb/s: want 10000 or 1000":                                   {Speed: 100},
		"refill batch 2049: want 1 to half the ring of 4096":                   {RefillBatch: 2049},
		"refill batch 8: want at most 2, so that the device has the 14 descriptors of a frame of 14000 bytes": {RingSize: 16, BufferSize: 1024, MaxFrame: 14000, RefillBatch: 8},
	} {
		d := drivertest.NewDevice()
		_, err := driver.Open(d, c)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "\n")
		require.ErrorContains(t, err, "open fake:82599: ")
		require.Zero(t, d.Accesses(), "the device is not accessed")
	}
}

func TestOpenSupportsEvery82599X540AndX550AndNoOtherDevice(t *testing.T) {
	for id, want := range map[pci.ID]string{
		{Vendor: 0x8086, Device: 0x15ab}: "device 8086:15ab is an Intel X552 (X550EM_x), not an 82599, X540 or X550: its registers, PHY or firmware differ",
		{Vendor: 0x8086, Device: 0x10c6}: "is an Intel 82598, not an 82599, X540 or X550",
		{Vendor: 0x8086, Device: 0x15c5}: "is an Intel X540 or X550 virtual function, not an 82599, X540 or X550",
		{Vendor: 0x8086, Device: 0x10d3}: "device 8086:10d3 is not an Intel 82599",
		{Vendor: 0x1af4, Device: 0x10fb}: "device 1af4:10fb is not an Intel 82599",
	} {
		d := drivertest.NewDevice()
		d.Identity = id
		_, err := driver.Open(d, driver.Config{})
		require.ErrorContains(t, err, want)
		_, ok := driver.Supports(id)
		require.False(t, ok)
	}
	for _, id := range []uint16{0x10ed, 0x152e, 0x10f7, 0x10f8, 0x10f9, 0x10fb, 0x10fc, 0x1507, 0x1514, 0x1517, 0x151c, 0x1529, 0x152a, 0x154a, 0x154d, 0x154f, 0x1557, 0x1558} {
		name, ok := driver.Supports(pci.ID{Vendor: 0x8086, Device: id})
		require.True(t, ok, "%04x", id)
		require.Contains(t, name, "82599")
	}
	for id, family := range map[uint16]string{0x1528: "X540", 0x1560: "X540", 0x1563: "X550", 0x15d1: "X550"} {
		name, ok := driver.Supports(pci.ID{Vendor: 0x8086, Device: id})
		require.True(t, ok, "%04x", id)
		require.Contains(t, name, family)
	}
}

func TestPagesFollowTheTransport(t *testing.T) {
	d := drivertest.NewDevice()
	p, err := driver.Open(d, driver.Config{RingSize: 64})
	require.NoError(t, err)
	require.Equal(t, hugepage.Ordinary, p.Config().Pages)
	require.NoError(t, p.Close())

	d = drivertest.NewDevice()
	d.Kind = "vfio"
	d.Mapper.Refuse = func(m *hugepage.Memory) error {
		require.Equal(t, 2<<20, m.PageSize())
		return nil
	}
	p, err = driver.Open(d, driver.Config{RingSize: 64})
	if err != nil {
		var missing *hugepage.MissingError
		require.ErrorAs(t, err, &missing, "without huge pages the error has the command that reserves them")
		return
	}
	require.NoError(t, p.Close())
}
