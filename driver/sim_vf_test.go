package driver_test

import (
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/driver/internal/reg"
	"github.com/ixcap/ixcap/internal/testtime"
	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/ring"
	"github.com/ixcap/ixcap/sim"
)

// cluster is a port with virtual functions on one model. Function k has the address
// 02:00:00:00:01:0k.
type cluster struct {
	*rig
	vfs []*driver.Port
}

func vfAddress(k byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 1, k} }

var (
	station   = net.HardwareAddr{2, 0, 0, 0, 9, 9} // of the network
	everybody = net.HardwareAddr{255, 255, 255, 255, 255, 255}
)

// openCluster opens a port that offers functions, and drives them.
func openCluster(t *testing.T, port, vf driver.Config, functions ...driver.VF) *cluster {
	t.Helper()
	port.RingSize, port.TxQueues = 64, 1
	for k := range functions {
		functions[k].MAC = vfAddress(byte(k))
	}
	port.VFs = functions
	c := &cluster{rig: openWire(t, &testWire{open: true}, sim.Config{VFs: len(functions)}, port)}
	for k := range functions {
		c.vfs = append(c.vfs, c.openVF(k, vf))
	}
	require.NoError(t, c.port.Start())
	waitUp(t, c.port)
	return c
}

func waitUp(t *testing.T, p *driver.Port) {
	t.Helper()
	require.Eventually(t, func() bool { return p.Link().Up }, testtime.Deadline, time.Millisecond)
}

func (c *cluster) openVF(k int, cfg driver.Config) *driver.Port {
	c.t.Helper()
	dev, err := c.nic.ConnectVF(k, fmt.Sprintf("vf%d", k))
	require.NoError(c.t, err)
	c.t.Cleanup(func() { require.NoError(c.t, dev.Close()) })
	if cfg.RingSize == 0 {
		cfg.RingSize = 64
	}
	cfg.TxQueues = 1
	p, err := driver.Open(dev, cfg)
	require.NoError(c.t, err)
	c.t.Cleanup(func() { require.NoError(c.t, p.Close()) })
	require.NoError(c.t, p.Start())
	return p
}

// unassigning is a device whose driver answers resets of functions without an address, as
// Linux' ixgbe does until it is told one (ixgbe_vf_reset_msg).
type unassigning struct{ pci.Device }

func (d unassigning) BAR(i int) (pci.Region, error) {
	r, err := d.Device.BAR(i)
	return unassigned{r}, err
}

type unassigned struct{ pci.Region }

func (r unassigned) Store32(off, v uint32) {
	if off == uint32(reg.PFMBMEM(0).Offset) && v == 1<<31|1 {
		v = 1<<30 | 1
	}
	r.Region.Store32(off, v)
}

// A function that gets no address chooses one, and keeps it at a reset.
func TestModelVirtualFunctionChoosesAnAddress(t *testing.T) {
	t.Parallel()
	w := &testWire{open: true}
	nic, err := sim.New(sim.Config{VFs: 1}, w)
	require.NoError(t, err)
	dev, err := sim.Connect(nic, "sim:test")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, dev.Close()) })
	c := &cluster{rig: &rig{t: t, nic: nic, dev: dev, wire: w}}
	c.port, err = driver.Open(unassigning{dev}, driver.Config{RingSize: 64, VFs: []driver.VF{{MAC: vfAddress(0), Trusted: true}}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.port.Close()) })
	require.NoError(t, c.port.Start())
	waitUp(t, c.port)
	events := &eventLog{}
	vf := c.openVF(0, driver.Config{OnEvent: events.add})
	c.vfs = append(c.vfs, vf)
	mac := vf.MAC()
	require.NotEqual(t, vfAddress(0), mac)
	require.EqualValues(t, 2, mac[0]&3, "a station address, administered locally")
	require.Equal(t, map[int]int{0: 1}, c.receive(mac, 0))
	require.NoError(t, c.port.SetVF(0, driver.VF{MAC: vfAddress(0), Trusted: true}))
	c.pollVF(0, func() bool { return len(events.texts(driver.Recovered)) == 1 })
	require.Equal(t, mac, vf.MAC())
	require.Equal(t, map[int]int{0: 1}, c.receive(mac, 0))
}

// crossing is a device with a function that sends a message whenever its driver is about to
// take the buffer of the mailbox.
type crossing struct {
	pci.Device
	send func()
}

func (d crossing) BAR(i int) (pci.Region, error) {
	r, err := d.Device.BAR(i)
	return crossed{r, d.send}, err
}

type crossed struct {
	pci.Region
	send func()
}

func (r crossed) Store32(off, v uint32) {
	if off == uint32(reg.PFMAILBOX(0).Offset) && v == reg.PFMAILBOX_PFU.Mask() {
		r.send()
	}
	r.Region.Store32(off, v)
}

// The first message of a function is answered, though its port wanted to ask it for a reset.
func TestModelMessageThatCrossesAnotherIsAnswered(t *testing.T) {
	nic, err := sim.New(sim.Config{VFs: 1}, &testWire{open: true})
	require.NoError(t, err)
	dev, err := sim.Connect(nic, "sim:test")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, dev.Close()) })
	function, err := nic.ConnectVF(0, "vf")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, function.Close()) })
	bar, err := function.BAR(0)
	require.NoError(t, err)
	const reset, success = 1, 1 << 31
	var once sync.Once
	send := func() {
		once.Do(func() {
			bar.Store32(uint32(reg.VFMAILBOX.Offset), reg.VFMAILBOX_VFU.Mask())
			bar.Store32(uint32(reg.VFMBMEM(0).Offset), reset)
			bar.Store32(uint32(reg.VFMAILBOX.Offset), reg.VFMAILBOX_REQ.Mask())
		})
	}
	p, err := driver.Open(crossing{dev, send}, driver.Config{RingSize: 64, VFs: []driver.VF{{MAC: vfAddress(0)}}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	require.Eventually(t, func() bool { return bar.Load32(uint32(reg.VFMBMEM(0).Offset)) == reset|success }, testtime.Deadline, time.Millisecond)
}

// ethernet is a frame of 64 bytes; vlan 0 is none.
func ethernet(to, from net.HardwareAddr, vlan uint16) []byte {
	f := append(append([]byte{}, to...), from...)
	if vlan != 0 {
		f = append(f, 0x81, 0, byte(vlan>>8), byte(vlan))
	}
	return append(append(f, 0x88, 0xb5), make([]byte, 60)...)[:64]
}

// got polls the port (as function -1) and the functions until the model has delivered
// all its frames, and returns how many each got.
func (c *cluster) got() map[int]int {
	c.t.Helper()
	counts := map[int]int{}
	frames := make([]ring.Frame, 16)
	check := deadline(c.t, time.Minute)
	for quiet := 0; quiet < 3; {
		n := 0
		for k, p := range append([]*driver.Port{c.port}, c.vfs...) {
			for i := range p.RxQueues() {
				if got := p.RxQueue(i).Poll(frames); got > 0 {
					n += got
					counts[k-1] += got
				}
				p.RxQueue(i).Release()
			}
		}
		c.wire.mu.Lock()
		pending := len(c.wire.frames)
		c.wire.mu.Unlock()
		if s := c.nic.Stats(); n > 0 || pending > 0 || s.Buffered > 0 {
			quiet = 0
		} else if quiet++; true {
			time.Sleep(3 * time.Millisecond)
		}
		check("frames still arrive")
	}
	require.NoError(c.t, c.nic.Stats().Balanced())
	return counts
}

func (c *cluster) receive(to net.HardwareAddr, vlan uint16) map[int]int {
	c.t.Helper()
	c.wire.push(ethernet(to, station, vlan))
	return c.got()
}

// send sends a frame from a function, or from the port as function -1.
func (c *cluster) send(k int, f []byte) map[int]int {
	c.t.Helper()
	p := c.port
	if k >= 0 {
		p = c.vfs[k]
	}
	require.Equal(c.t, 1, p.TxQueue(0).Send([][]byte{f}))
	require.Eventually(c.t, func() bool { return p.TxQueue(0).Pending() == 0 }, testtime.Deadline, time.Millisecond)
	return c.got()
}

func TestModelVirtualFunctionsCaptureTheirFrames(t *testing.T) {
	c := openCluster(t, driver.Config{}, driver.Config{}, driver.VF{}, driver.VF{Trusted: true, ShareRSS: true})
	for k, p := range c.vfs {
		require.Equal(t, vfAddress(byte(k)), p.MAC())
		require.Equal(t, driver.Link{Up: true, Speed: 10000}, p.Link())
		require.Equal(t, "82599 virtual function", p.Model())
	}
	g, virtual := c.vfs[0].Virtual()
	require.True(t, virtual)
	require.Equal(t, driver.Grant{API: "1.5", Queues: 4}, g)
	require.Len(t, c.vfs[0].Restrictions(), 2)
	g, _ = c.vfs[1].Virtual()
	require.Equal(t, driver.Grant{API: "1.5", Queues: 4, Promiscuous: true, AllMulticast: true, RSS: true}, g)
	_, virtual = c.port.Virtual()
	require.False(t, virtual)
	require.Empty(t, c.port.Restrictions())

	require.Equal(t, map[int]int{0: 1}, c.receive(vfAddress(0), 0))
	require.Equal(t, map[int]int{-1: 1, 0: 1, 1: 1}, c.receive(everybody, 0))
	require.Equal(t, map[int]int{-1: 1, 1: 1}, c.receive(net.HardwareAddr{1, 0, 0x5e, 1, 1, 1}, 0), "all multicast is granted to 1")
	require.Equal(t, map[int]int{-1: 1, 1: 1}, c.receive(station, 0), "promiscuous is granted to 1")
	require.Equal(t, map[int]int{-1: 1}, c.receive(c.port.MAC(), 0))
	require.Equal(t, map[int]int{1: 1}, c.send(0, ethernet(vfAddress(1), vfAddress(0), 0)), "from one function to another")
	require.Empty(t, c.send(0, ethernet(vfAddress(1), vfAddress(1), 0)), "a false source address")
	require.Empty(t, c.wire.sentFrames())

	s, err := c.vfs[1].Stats()
	require.NoError(t, err)
	require.NoError(t, s.Balanced())
	require.EqualValues(t, 4, s.Received)
	require.EqualValues(t, 4*64, s.ReceivedBytes)
	counters, err := c.vfs[1].Counters()
	require.NoError(t, err)
	require.Equal(t, driver.Counter{Name: "multicast", Register: "VFMPRC", Value: 1}, counters[2])
	s, err = c.port.Stats()
	require.NoError(t, err)
	require.NoError(t, s.Balanced())
	require.EqualValues(t, 4, s.Received)
	require.Zero(t, c.nic.Stats().Faults, c.nic.Stats().LastFault)

	states := c.port.VFs()
	require.True(t, states[0].Ready && states[1].Ready && states[1].Promiscuous)
	require.EqualValues(t, 1, states[0].Refused, "the table of RSS; promiscuous mode is reduced, not refused")
}

// A function takes the newest version that the port offers, and what it has.
func TestModelVirtualFunctionsAgreeOnAVersion(t *testing.T) {
	for _, want := range []driver.Grant{
		{API: "1.0", Queues: 1},
		{API: "1.1", Queues: 4},
		{API: "1.2", Queues: 4, AllMulticast: true, RSS: true},
		{API: "1.3", Queues: 4, Promiscuous: true, AllMulticast: true, RSS: true},
		{API: "1.4", Queues: 4, Promiscuous: true, AllMulticast: true, RSS: true},
		{API: "1.5", Queues: 4, Promiscuous: true, AllMulticast: true, RSS: true},
	} {
		t.Run(want.API, func(t *testing.T) {
			t.Parallel()
			c := openCluster(t, driver.Config{VFMailbox: want.API}, driver.Config{}, driver.VF{Trusted: true, ShareRSS: true})
			g, _ := c.vfs[0].Virtual()
			require.Equal(t, want, g)
			require.Equal(t, want.API, c.port.VFs()[0].API)
			require.Equal(t, driver.Link{Up: true, Speed: 10000}, c.vfs[0].Link())
			require.Equal(t, map[int]int{0: 1}, c.receive(vfAddress(0), 0))
			require.Equal(t, map[int]int{-1: 1, 0: 1}, c.receive(everybody, 0))
			require.Equal(t, map[int]int{-1: 1}, c.send(0, ethernet(c.port.MAC(), vfAddress(0), 0)))
		})
	}
}

func TestModelVirtualFunctionsShareRSS(t *testing.T) {
	c := openCluster(t, driver.Config{}, driver.Config{Queues: 4}, driver.VF{ShareRSS: true})
	p := c.vfs[0]
	used := map[int]bool{}
	for i := range 64 {
		f := datagram(vfAddress(0), uint16(1000+i))
		c.wire.push(f)
		require.Eventually(t, func() bool {
			frames := make([]ring.Frame, 4)
			for q := range p.RxQueues() {
				if p.RxQueue(q).Poll(frames) == 1 {
					require.Equal(t, p.RSS().QueueOf(frames[0].Hash), q)
					p.RxQueue(q).Release()
					used[q] = true
					return true
				}
			}
			return false
		}, testtime.Deadline, 10*time.Microsecond)
	}
	require.Len(t, used, 4)
	require.ErrorContains(t, p.SetRSS(driver.RSS{}), "a virtual function cannot")
}

// datagram is a datagram from 192.0.2.1 with that source port.
func datagram(to net.HardwareAddr, port uint16) []byte {
	f := append(append(append([]byte{}, to...), station...), 8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2)
	return append(append(f, byte(port>>8), byte(port), 0, 9, 0, 26, 0, 0), make([]byte, 18)...)
}

func TestModelVLANsOfVirtualFunctions(t *testing.T) {
	c := openCluster(t, driver.Config{}, driver.Config{}, driver.VF{VLAN: 42}, driver.VF{})
	require.Equal(t, map[int]int{0: 1}, c.receive(vfAddress(0), 42))
	require.Equal(t, map[int]int{-1: 1}, c.receive(vfAddress(0), 0), "not in its VLAN")
	require.Equal(t, map[int]int{-1: 1, 0: 1}, c.receive(everybody, 42))
	require.Equal(t, map[int]int{-1: 1, 1: 1}, c.receive(everybody, 0))
	g, _ := c.vfs[0].Virtual()
	require.True(t, g.PortVLAN)
	c.send(0, ethernet(station, vfAddress(0), 0))
	require.Equal(t, [][]byte{append(ethernet(station, vfAddress(0), 42), 0, 0, 0, 0)}, c.wire.sentFrames())
}

func TestModelMirrorRulesOfTheDriver(t *testing.T) {
	c := openCluster(t, driver.Config{}, driver.Config{}, driver.VF{}, driver.VF{VLAN: 7}, driver.VF{})
	const monitor = 2
	for _, x := range []struct {
		rule                    driver.MirrorRule
		uplink, local, downlink map[int]int // to function 0, from 0 to the port, from 0 to the network
		vlan                    map[int]int // to function 1
	}{
		{driver.MirrorRule{}, map[int]int{0: 1}, map[int]int{-1: 1}, map[int]int{}, map[int]int{1: 1}},
		{driver.MirrorRule{To: monitor, Functions: []int{0}}, map[int]int{0: 1, monitor: 1}, map[int]int{-1: 1}, map[int]int{}, map[int]int{1: 1}},
		{driver.MirrorRule{To: monitor, Uplink: true}, map[int]int{0: 1, monitor: 1}, map[int]int{-1: 1}, map[int]int{}, map[int]int{1: 1, monitor: 1}},
		{driver.MirrorRule{To: monitor, Downlink: true}, map[int]int{0: 1}, map[int]int{-1: 1}, map[int]int{monitor: 1}, map[int]int{1: 1}},
		{driver.MirrorRule{To: monitor, VLANs: []uint16{7}}, map[int]int{0: 1}, map[int]int{-1: 1}, map[int]int{}, map[int]int{1: 1, monitor: 1}},
		{driver.MirrorRule{To: driver.ToPort, Functions: []int{0, 1}, Downlink: true}, map[int]int{-1: 1, 0: 1}, map[int]int{-1: 1}, map[int]int{-1: 1}, map[int]int{-1: 1, 1: 1}},
	} {
		require.NoError(t, c.port.Mirror(1, x.rule))
		require.Equal(t, x.uplink, c.receive(vfAddress(0), 0), "uplink %+v", x.rule)
		require.Equal(t, x.local, c.send(0, ethernet(c.port.MAC(), vfAddress(0), 0)), "local %+v", x.rule)
		require.Equal(t, x.downlink, c.send(0, ethernet(station, vfAddress(0), 0)), "downlink %+v", x.rule)
		require.Equal(t, x.vlan, c.receive(vfAddress(1), 7), "VLAN %+v", x.rule)
	}
	for text, r := range map[string]driver.MirrorRule{
		"to virtual function 3 of 3": {To: 3}, "virtual function 9 of 3": {Functions: []int{9}}, "VLAN 4095": {VLANs: []uint16{4095}},
	} {
		require.ErrorContains(t, c.port.Mirror(0, r), text)
	}
	require.Equal(t, map[int]driver.MirrorRule{1: {To: driver.ToPort, Functions: []int{0, 1}, Downlink: true}}, c.port.MirrorRules())
	require.Equal(t, "frames for functions 0 1, downlink to the port", c.port.MirrorRules()[1].String())
	require.NoError(t, c.port.Mirror(1, driver.MirrorRule{To: monitor, VLANs: []uint16{8}}), "before a function is in it")
	require.Equal(t, map[int]int{-1: 1, monitor: 1}, c.receive(everybody, 8))
	all := make([]uint16, 64)
	for i := range all {
		all[i] = uint16(100 + i)
	}
	require.ErrorContains(t, c.port.Mirror(0, driver.MirrorRule{VLANs: all}), "the chip filters 64 VLANs, and all are in use", "VLANs 7 and 8 are")
	require.Len(t, c.port.MirrorRules(), 1)
	require.NoError(t, c.port.Mirror(0, driver.MirrorRule{VLANs: all[:62]}))
	require.ErrorContains(t, c.port.Mirror(4, driver.MirrorRule{}), "want 0 to 3")
	require.ErrorContains(t, c.vfs[0].Mirror(0, driver.MirrorRule{}), "no virtual functions")
}

// A function that its port resets goes on under the reader of its queues, with what it is
// granted then. Frames in memory are kept.
func TestModelVirtualFunctionIsResetByItsPort(t *testing.T) {
	t.Parallel()
	for _, mode := range []driver.Interrupts{driver.QueueInterrupts, driver.NoInterrupts} {
		events := &eventLog{}
		c := openCluster(t, driver.Config{Interrupts: mode}, driver.Hasty(driver.Config{Interrupts: mode, OnEvent: events.add}), driver.VF{})
		vf := c.vfs[0]
		const before = 100
		c.receiveMany(vfAddress(0), before)
		c.wire.push(ethernet(vfAddress(0), station, 0), ethernet(vfAddress(0), station, 0))
		require.Eventually(t, func() bool { return c.nic.Stats().Delivered == before+2 }, time.Minute, time.Millisecond)
		vf.ForgetCounters() // as after a reset that clears the registers
		require.NoError(t, c.port.SetVF(0, driver.VF{Trusted: true}))
		require.Equal(t, 2, c.pollVF(0, func() bool { return len(events.texts(driver.Recovered)) == 1 }), "frames in memory")
		require.Equal(t, []string{"the physical function has reset this function: no frames arrive until it answers"}, events.texts(driver.FunctionReset))
		require.Regexp(t, `^the function has started again after \S+; frames in memory are kept`, events.texts(driver.Recovered)[0])
		g, _ := vf.Virtual()
		require.True(t, g.Promiscuous, "it is trusted now")
		require.Equal(t, map[int]int{-1: 1, 0: 1}, c.receive(station, 0))
		c.requireReceived(0, before+3)
		c.send(0, ethernet(station, vfAddress(0), 0))
		require.Len(t, c.wire.sentFrames(), 1)
		require.NoError(t, vf.Close())
	}
}

// A function waits for a port that was closed, and goes on when the port is open again.
func TestModelVirtualFunctionOutlivesItsPort(t *testing.T) {
	t.Parallel()
	events := &eventLog{}
	c := openCluster(t, driver.Config{}, driver.Hasty(driver.Config{OnEvent: events.add}), driver.VF{})
	vf := c.vfs[0]
	require.Equal(t, map[int]int{0: 1}, c.receive(vfAddress(0), 0))
	require.NoError(t, c.port.Close())
	c.pollVF(0, func() bool { return len(events.texts(driver.FunctionReset)) == 1 })
	require.False(t, vf.Link().Up)
	require.Equal(t, 1, vf.TxQueue(0).Send([][]byte{ethernet(station, vfAddress(0), 0)}), "the ring has room")
	require.NoError(t, vf.Stop())
	require.NoError(t, vf.Start())
	var err error
	address := net.HardwareAddr{2, 0, 0, 0, 1, 7}
	c.port, err = driver.Open(c.dev, driver.Config{RingSize: 64, VFs: []driver.VF{{MAC: address}}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.port.Close()) })
	require.NoError(t, c.port.Start())
	require.Zero(t, c.pollVF(0, func() bool { return len(events.texts(driver.Recovered)) == 1 }))
	require.Equal(t, address, vf.MAC())
	waitUp(t, vf)
	c.receiveMany(address, 100)
	c.requireReceived(0, 101)
	require.Eventually(t, func() bool { return vf.TxQueue(0).Pending() == 0 }, time.Minute, time.Millisecond)
	require.EqualValues(t, 1, vf.TxQueue(0).Discarded())
	require.Len(t, events.texts(driver.FunctionReset), 1)
}

// A port that grants less than the function uses is reported once; the function goes on
// when it gets it back.
func TestModelVirtualFunctionWaitsForItsQueues(t *testing.T) {
	t.Parallel()
	events := &eventLog{}
	c := openCluster(t, driver.Config{}, driver.Hasty(driver.Config{Queues: 4, OnEvent: events.add}), driver.VF{})
	for _, step := range []struct {
		functions int
		event     driver.EventKind
		want      int
		text      string
	}{
		{32, driver.FunctionReset, 2, "the function cannot start again: negotiate with the physical function: 4 receive and 1 transmit queues: the physical function grants 2. It tries again every 100ms"},
		{1, driver.Recovered, 1, "has started again"},
	} {
		require.NoError(t, c.port.Close())
		functions := make([]driver.VF, step.functions)
		functions[0].MAC = vfAddress(0)
		var err error
		c.port, err = driver.Open(c.dev, driver.Config{RingSize: 64, VFs: functions})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.port.Close()) })
		require.NoError(t, c.port.Start())
		c.pollVF(0, func() bool { return len(events.texts(step.event)) == step.want })
		require.Contains(t, events.texts(step.event)[step.want-1], step.text)
	}
	require.Equal(t, map[int]int{0: 1}, c.receive(vfAddress(0), 0))
}

// receiveMany receives frames for function 0, a multiple of 25.
func (c *cluster) receiveMany(to net.HardwareAddr, frames int) {
	c.t.Helper()
	for left := frames; left > 0; left -= 25 {
		for range 25 {
			c.wire.push(ethernet(to, station, 0))
		}
		require.Equal(c.t, map[int]int{0: 25}, c.got())
	}
}

// pollVF polls a function until done, and returns the number of frames.
func (c *cluster) pollVF(k int, done func() bool) (n int) {
	c.t.Helper()
	frames := make([]ring.Frame, 16)
	for check := deadline(c.t, time.Minute); ; time.Sleep(time.Millisecond) {
		for _, q := range rxQueues(c.vfs[k]) {
			n += q.Poll(frames)
			q.Release()
		}
		if done() {
			return n
		}
		check("not done")
	}
}

// requireReceived requires that a function counts that many frames received, and none lost.
func (c *cluster) requireReceived(k, frames int) {
	c.t.Helper()
	s, err := c.vfs[k].Stats()
	require.NoError(c.t, err)
	require.NoError(c.t, s.Balanced())
	require.EqualValues(c.t, frames, s.Received)
	require.Zero(c.t, s.Lost())
}

func TestModelVirtualFunctionStopsAndStarts(t *testing.T) {
	c := openCluster(t, driver.Config{}, driver.Config{}, driver.VF{})
	for range 3 {
		for range 100 { // more than the ring has descriptors
			require.Equal(t, map[int]int{0: 1}, c.receive(vfAddress(0), 0))
		}
		require.NoError(t, c.vfs[0].Stop())
		require.Empty(t, c.receive(vfAddress(0), 0))
		require.NoError(t, c.vfs[0].Start())
	}
	s, err := c.vfs[0].Stats()
	require.NoError(t, err)
	require.EqualValues(t, 300, s.Received)
}

func TestVirtualFunctionsAreChecked(t *testing.T) {
	for text, cfg := range map[string]driver.Config{
		"64 virtual functions":       {VFs: make([]driver.VF, 64)},
		"queues 3":                   {VFs: make([]driver.VF, 2), Queues: 3},
		"transmit queues 3":          {VFs: make([]driver.VF, 40), TxQueues: 3},
		"mailbox version \"1.6\"":    {VFMailbox: "1.6"},
		"want a station address":     {VFs: []driver.VF{{MAC: everybody}}},
		"virtual function 1: VLAN 9": {VFs: []driver.VF{{}, {VLAN: 9999}}},
	} {
		dev, err := sim.Open("gen,vfs=2")
		require.NoError(t, err)
		cfg.RingSize = 64
		_, err = driver.Open(dev, cfg)
		require.ErrorContains(t, err, text)
		require.NoError(t, dev.Close())
	}
}

// A port with virtual functions whose DMA has stopped is reset: its functions wait and go
// on, and its mirror rules hold.
func TestModelStalledPortWithVirtualFunctionsIsRecovered(t *testing.T) {
	t.Parallel()
	events, functionEvents := &eventLog{}, &eventLog{}
	r := open(t, "gen,count=forever,rate=20kpps,size=60-3000,vfs=2,fault=rxstall:20000",
		driver.Hasty(driver.Config{RingSize: 64, OnEvent: events.add, VFs: []driver.VF{{MAC: vfAddress(0), Trusted: true}, {MAC: vfAddress(1)}}}))
	require.NoError(t, r.port.Mirror(2, driver.MirrorRule{To: 1, Uplink: true, VLANs: []uint16{9}}))
	c := &cluster{rig: r}
	for k := range 2 {
		dev, err := r.nic.ConnectVF(k, "vf")
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, dev.Close()) })
		p, err := driver.Open(dev, driver.Hasty(driver.Config{RingSize: 64, OnEvent: functionEvents.add}))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, p.Close()) })
		require.NoError(t, p.Start())
		c.vfs = append(c.vfs, p)
	}
	require.NoError(t, r.port.Start())
	frames := make([]ring.Frame, 64)
	var got [2]int
	poll := func(done func() bool) {
		r.pollUntil(func() bool {
			for k, p := range c.vfs {
				got[k] += p.RxQueue(0).Poll(frames)
				p.RxQueue(0).Release()
			}
			return done()
		})
	}
	poll(func() bool {
		return len(events.texts(driver.Recovered)) == 1 && len(functionEvents.texts(driver.Recovered)) == 2
	})
	require.Contains(t, events.texts(driver.Hung)[0], "the receive DMA has stopped")
	require.Regexp(t, `^the device was reset in \S+; frames inside it are lost and in no counter, those in memory are kept; its virtual functions \(2\) start again$`, events.texts(driver.Recovered)[0])
	before := got
	poll(func() bool { return got[0] > before[0]+1000 && got[1] > before[1]+1000 })
	for k, p := range c.vfs {
		s, err := p.Stats()
		require.NoError(t, err)
		require.NoError(t, s.Balanced(), "function %d", k)
	}
	require.Len(t, r.port.MirrorRules(), 1)
	require.NoError(t, r.nic.Stats().Balanced())
}
