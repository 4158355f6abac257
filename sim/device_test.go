package sim_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/sim"
)

// capture receives through the vfio-user protocol: registers by message, tails by
// doorbell, memory by passed file descriptors. It returns the frames of queue 0.
func capture(t *testing.T, dev *sim.Device, want int, entries int) (frames [][]byte) {
	t.Helper()
	const size = 2048
	bar, err := dev.BAR(0)
	require.NoError(t, err)
	mem, err := hugepage.Alloc(entries*(16+size), hugepage.Options{Pages: hugepage.Ordinary, Node: hugepage.AnyNode})
	require.NoError(t, err)
	defer mem.Close()
	base, err := dev.DMA().Map(mem, dma.DeviceReadsWrites)
	require.NoError(t, err)
	ring, buf := uint64(base), uint64(base)+uint64(entries*16)
	desc := func(i int) []byte { return mem.Bytes()[i*16:][:16] }
	post := func(i int) {
		binary.LittleEndian.PutUint64(desc(i)[8:], 0)
		binary.LittleEndian.PutUint64(desc(i), buf+uint64(i*size))
	}
	for i := range entries {
		post(i)
	}
	var command [2]byte
	_, err = dev.Config().ReadAt(command[:], 4)
	require.NoError(t, err)
	command[0] |= 6
	_, err = dev.Config().WriteAt(command[:], 4)
	require.NoError(t, err)

	require.Eventually(t, func() bool { return bar.Load32(0x42a4)&(1<<30) != 0 }, 30*time.Second, time.Millisecond, "link")
	bar.Store32(0x5080, 0x700)
	bar.Store32(0x2f00, bar.Load32(0x2f00)|2)
	bar.Store32(0x1000, uint32(ring))
	bar.Store32(0x1004, uint32(ring>>32))
	bar.Store32(0x1008, uint32(entries*16))
	bar.Store32(0x2100, 2|1<<25)
	bar.Store32(0x1028, 1<<25)
	require.NotZero(t, bar.Load32(0x1028)&(1<<25))
	bar.Store32(0x1018, uint32(entries-1))
	require.EqualValues(t, entries-1, bar.Load32(0x1018))
	bar.Store32(0x3000, 1)

	deadline := time.Now().Add(30 * time.Second)
	next := 0
	for len(frames) < want && time.Now().Before(deadline) {
		hi := loadWord(desc(next)[8:])
		if hi&1 == 0 {
			time.Sleep(10 * time.Microsecond)
			continue
		}
		n := int(hi >> 32 & 0xffff)
		frames = append(frames, append([]byte(nil), mem.Bytes()[entries*16+next*size:][:n]...))
		post(next)
		if next++; next == entries {
			next = 0
		}
		bar.Store32(0x1018, uint32((next+entries-1)%entries))
	}
	require.NoError(t, dev.DMA().Unmap(base))
	return frames
}

func TestCaptureThroughTheProtocol(t *testing.T) {
	dev, err := sim.Open("gen,size=60-300,count=5000,backpressure,mac=02:00:00:00:00:09")
	require.NoError(t, err)
	defer dev.Close()
	require.Equal(t, "8086:10fb", dev.ID().String())
	frames := capture(t, dev, 5000, 256)
	require.Len(t, frames, 5000)
	select {
	case <-dev.Ended():
	case <-time.After(30 * time.Second):
		t.Fatal("the wire has ended, Ended is open")
	}
	s := dev.NIC().Stats()
	require.NoError(t, s.Balanced())
	require.EqualValues(t, 5000, s.Delivered)
	require.NoError(t, dev.Close())
	require.NoError(t, dev.Close(), "second Close")
}

func TestSchemeIsRegistered(t *testing.T) {
	dev, err := pci.Open("sim:gen,count=1")
	require.NoError(t, err)
	_, ender := dev.(pci.Ender)
	require.True(t, ender)
	require.NoError(t, dev.Close())
}

func TestBadNamesAreExplained(t *testing.T) {
	for name, says := range map[string]string{
		"sim:":                          "no wire",
		"sim:pcap=/does/not/exist":      "/does/not/exist",
		"sim:gen,mac=1":                 "six bytes",
		"sim:gen,mac=01:00:00:00:00:00": "multicast",
		"sim:gen,sfpp=sr":               "burst, or one of the port: id, mac, sfp",
		"sim:gen,sfp=qsfp":              "sr, lr, da, sx",
		"sim:gen,start=now":             "rx or link",
		"sim:gen,linkdelay=5":           "5ms",
		"sim:gen,clock=1001":            "-1000 to 1000 ppm",
		"sim:gen,fault=fire:1":          "unknown",
		"sim:gen,fault=crc:0":           "from 1",
		"sim:gen,fault=flap:x":          "time",
		"sim:gen,colour=red":            "colour",
	} {
		_, err := pci.Open(name)
		require.ErrorContains(t, err, says, name)
	}
}

func TestFaultsAreInjected(t *testing.T) {
	t.Run("bad CRC", func(t *testing.T) {
		dev, err := sim.Open("gen,count=1000,backpressure,fault=crc:10")
		require.NoError(t, err)
		defer dev.Close()
		require.Len(t, capture(t, dev, 900, 256), 900)
		require.EqualValues(t, 100, dev.NIC().Stats().BadCRC)
	})
	t.Run("DMA to an unmapped address", func(t *testing.T) {
		dev, err := sim.Open("gen,count=1000,backpressure,fault=dma:100")
		require.NoError(t, err)
		defer dev.Close()
		require.Len(t, capture(t, dev, 1000, 256), 1000)
		require.EqualValues(t, 10, dev.NIC().Stats().Faults)
		require.Contains(t, dev.NIC().Stats().LastFault, "injected")
	})
	t.Run("surprise removal", func(t *testing.T) {
		dev, err := sim.Open("gen,count=1000,backpressure,fault=remove:100")
		require.NoError(t, err)
		defer dev.Close()
		bar, err := dev.BAR(0)
		require.NoError(t, err)
		require.NotEqual(t, uint32(0xffffffff), bar.Load32(8))
		require.Len(t, capture(t, dev, 100, 256), 100)
		require.Eventually(t, func() bool { return bar.Load32(8) == 0xffffffff }, 30*time.Second, time.Millisecond)
		select {
		case <-dev.Ended():
		case <-time.After(30 * time.Second):
			t.Fatal("the wire of a removed device has not ended")
		}
		s := dev.NIC().Stats()
		require.NoError(t, s.Balanced())
		require.EqualValues(t, 900, s.Removed)
	})
	t.Run("link flap", func(t *testing.T) {
		dev, err := sim.Open("gen,backpressure,fault=flap:20ms")
		require.NoError(t, err)
		defer dev.Close()
		bar, err := dev.BAR(0)
		require.NoError(t, err)
		up := func() bool { return bar.Load32(0x42a4)&(1<<30) != 0 }
		require.Eventually(t, up, 30*time.Second, 500*time.Microsecond)
		require.Eventually(t, func() bool { return !up() }, 30*time.Second, 500*time.Microsecond)
		require.Eventually(t, up, 30*time.Second, 500*time.Microsecond)
	})
}

func TestNoDescriptorsAreLeftOpen(t *testing.T) {
	count := func() int {
		e, err := os.ReadDir(filepath.Join("/proc/self/fd"))
		require.NoError(t, err)
		return len(e)
	}
	dev, err := sim.Open("gen,count=1")
	require.NoError(t, err)
	require.NoError(t, dev.Close())
	before := count()
	for range 5 {
		dev, err := sim.Open("gen,count=1")
		require.NoError(t, err)
		require.NoError(t, dev.Close())
	}
	require.Equal(t, before, count())
}
