//go:build vmtest

package vmtest

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/daemon/portstat"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/ring"
	"github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/wire"
)

// mix is a script of good and bad frames, with their CRCs, in a random order.
type mix struct {
	frames [][]byte
	llc    uint64 // frames whose length field is wrong
	bytes  uint64 // of the frames that are good but for it, without CRC
	bad    uint64 // others that are not good
}

// add adds n frames of a kind: size without CRC, destination and EtherType. wrong is set
// in the CRC.
func (m *mix) add(n, size int, destination string, etherType uint16, wrong uint32) {
	for range n {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(i * (len(m.frames) + 3))
		}
		copy(b, destination)
		copy(b[6:], "\x02\x00\x00\x00\x00\x77")
		binary.BigEndian.PutUint16(b[12:], etherType)
		if etherType == 0x8100 {
			copy(b[14:], "\x00\x05\x88\xb5")
		}
		m.frames = append(m.frames, binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b)^wrong))
	}
	switch tag := 4 * btoi(etherType == 0x8100); {
	case wrong != 0 || size < 60 || size > 1514+tag:
		m.bad += uint64(n)
		return
	case etherType < 0x600:
		m.llc += uint64(n)
	}
	m.bytes += uint64(n * size)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

const (
	unicast   = "\x02\x00\x00\x00\x00\x66"
	multicast = "\x01\x00\x5e\x01\x02\x03"
	broadcast = "\xff\xff\xff\xff\xff\xff"
	unknown   = 0x88b5 // EtherType for experiments
)

func newMix() *mix {
	m := &mix{}
	for _, size := range []int{60, 61, 123, 124, 508, 1020, 1514} {
		m.add(20, size, unicast, unknown, 0)
	}
	m.add(31, 60, multicast, unknown, 0)
	m.add(17, 60, broadcast, unknown, 0)
	m.add(13, 64, unicast, 0x8100, 0)
	m.add(11, 1518, unicast, 0x8100, 0) // as long as a tag allows
	m.add(9, 100, unicast, 5, 0)        // a length field that is wrong
	m.add(23, 100, unicast, unknown, 1)
	m.add(3, 1514, multicast, unknown, 1)
	m.add(7, 59, unicast, unknown, 0)
	m.add(5, 20, unicast, unknown, 0)
	m.add(6, 40, unicast, unknown, 1)
	m.add(8, 1515, unicast, unknown, 0)
	m.add(4, 9000, unicast, unknown, 0)
	m.add(2, 2000, unicast, unknown, 1)
	rand.New(rand.NewPCG(13, 3)).Shuffle(len(m.frames), func(i, k int) { m.frames[i], m.frames[k] = m.frames[k], m.frames[i] })
	return m
}

// wire writes the script to a file and returns the wire that plays it once.
func (m *mix) wire(t *testing.T) string {
	t.Helper()
	e := pcapfile.Encoder{Format: pcapfile.Pcap, Interface: pcapfile.Interface{CRC: true}}
	b := e.Header(nil)
	for i, f := range m.frames {
		b = e.Packet(b, &pcapfile.Packet{Nano: int64(i), Len: uint32(len(f)), Data: f})
	}
	name := filepath.Join(t.TempDir(), "mix.pcap")
	require.NoError(t, os.WriteFile(name, b, 0o600))
	return "pcap=" + wire.Quote(name) + ",fcs=file,backpressure"
}

// TestIxgbeCounters plays one script of good and bad frames to Linux' driver and to ours,
// each on a model of its own, and compares their counters.
func TestIxgbeCounters(t *testing.T) {
	t.Parallel()
	m := newMix()
	played := m.wire(t)
	ours := playToOurs(t, played, driver.Config{MaxFrame: 1514}, len(m.frames)-int(m.bad))
	for _, kernel := range []string{"6.1", "7.2"} {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			v := boot(t, machine{Kernel: kernel, NICs: []nic{{Wire: played}, {Wire: played}}})
			must(t, probe(v, 0))
			step(t, "counters equal our driver's", func(t *testing.T) {
				s := playToIxgbe(t, v, 0, len(m.frames), "")
				for _, name := range []string{
					"broadcast", "multicast", "rx_crc_errors", "rx_long_length_errors", "rx_short_length_errors",
					"rx_missed_errors", "rx_no_dma_resources", "rx_flow_control_xon", "rx_flow_control_xoff",
				} {
					require.Contains(t, s, name)
					require.Equal(t, ours[name], s[name], name)
				}
				// Our driver receives frames with a wrong length field, Linux leaves the chip at
				// its default, which takes them for bad.
				require.Equal(t, m.llc, s["rx_length_errors"])
				require.Zero(t, ours["rx_length_errors"])
				require.Equal(t, ours["rx_pkts_nic"]-m.llc, s["rx_pkts_nic"])
				require.Equal(t, ours["rx_bytes_nic"]-100*m.llc, s["rx_bytes_nic"])
				require.Equal(t, m.bytes, ours["rx_bytes_nic"])
				require.Equal(t, s["rx_pkts_nic"], s["rx_packets"])
				require.EqualValues(t, 26, s["rx_crc_errors"])
			})
			step(t, "nicstat shows what ethtool -S shows", func(t *testing.T) {
				var r portstat.Report
				must(t, json.Unmarshal([]byte(v.run(t, "nicstat --json nic0")), &r))
				require.Len(t, r.Ports, 1)
				got := map[string]uint64{}
				for _, c := range r.Ports[0].Counters {
					got[c.Name] = c.Value
				}
				want, err := nicStats(v, 0) // without traffic
				must(t, err)
				for name, n := range want {
					require.Contains(t, got, name)
					require.Equal(t, n, got[name], name)
				}
			})
			step(t, "rx-all and rx-fcs: every frame is stored", func(t *testing.T) {
				s := playToIxgbe(t, v, 1, len(m.frames), "ethtool -K nic1 rx-all on rx-fcs on")
				for _, name := range []string{"rx_crc_errors", "rx_long_length_errors", "rx_short_length_errors", "rx_no_dma_resources"} {
					require.Equal(t, ours[name], s[name], name)
				}
				truth := v.nic(1).stats(t)
				require.EqualValues(t, len(m.frames), truth.Delivered)
				require.Equal(t, uint64(len(m.frames)), s["rx_packets"])
			})
			require.Empty(t, kernelWarnings(t, v))
		})
	}
}

// playToOurs plays a wire to our driver and returns its counters by name.
func playToOurs(t *testing.T, played string, cfg driver.Config, want int) map[string]uint64 {
	t.Helper()
	dev, err := sim.Open(played)
	require.NoError(t, err)
	defer dev.Close()
	p, err := driver.Open(dev, cfg)
	require.NoError(t, err)
	defer p.Close()
	require.NoError(t, p.Start())
	frames, got := make([]ring.Frame, 64), 0
	for end := time.Now().Add(time.Minute); ; {
		n := p.RxQueue(0).Poll(frames)
		p.RxQueue(0).Release()
		if got += n; n > 0 {
			continue
		}
		select {
		case <-dev.Ended():
		default:
			require.True(t, time.Now().Before(end), "the wire did not end")
			continue
		}
		if p.Drained() && got == want {
			break
		}
		require.True(t, time.Now().Before(end), "%d of %d frames", got, want)
	}
	all, err := p.Counters()
	require.NoError(t, err)
	s := map[string]uint64{}
	for _, c := range all {
		s[c.Name] = c.Value
	}
	return s
}

// playToIxgbe sets an interface up, which plays the wire of n frames, and returns the
// counters of ethtool -S once it has ended.
func playToIxgbe(t *testing.T, v *vm, i, n int, before string) map[string]uint64 {
	t.Helper()
	v.run(t, fmt.Sprintf("ip link set nic%d promisc on; %s", i, before))
	must(t, linkUp(v, i))
	require.Eventually(t, func() bool { return v.nic(i).stats(t).Offered == uint64(n) }, time.Minute, 200*time.Millisecond, "the wire ends")
	truth := v.nic(i).stats(t)
	require.NoError(t, truth.Balanced())
	var s map[string]uint64
	require.Eventually(t, func() bool {
		var err error
		s, err = nicStats(v, i)
		must(t, err)
		return s["rx_packets"] == truth.Delivered
	}, 20*time.Second, 500*time.Millisecond, "the driver has seen all that the model has delivered: %v", truth)
	return s
}
