package sim

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"
)

// ptpV2 is a PTP message of version 2 (IEEE 1588-2008, 13.3).
func ptpV2(message byte, sequence uint16) []byte {
	p := pattern(44)
	p[0], p[1] = 0xf0|message, 2
	binary.BigEndian.PutUint16(p[30:], sequence)
	return p
}

// ptpV1 is a PTP message of version 1, whose type is in the control field.
func ptpV1(control byte) []byte {
	p := pattern(124)
	p[0], p[1], p[32] = 0, 1, control
	return p
}

func ptpL2(p []byte) []byte {
	f := serialize(ethernet(0x88f7), gopacket.Payload(p))
	return append(f, make([]byte, max(0, minFrame-len(f)))...)
}

func ptpUDP(p []byte, src, dst string, port uint16) []byte {
	var network gopacket.SerializableLayer
	u := &layers.UDP{SrcPort: 319, DstPort: layers.UDPPort(port)}
	kind := layers.EthernetTypeIPv4
	if a := ip(src); len(a) == 4 {
		h := &layers.IPv4{Version: 4, TTL: 1, Protocol: layers.IPProtocolUDP, SrcIP: a, DstIP: ip(dst)}
		network = h
		_ = u.SetNetworkLayerForChecksum(h)
	} else {
		kind = layers.EthernetTypeIPv6
		h := &layers.IPv6{Version: 6, HopLimit: 1, NextHeader: layers.IPProtocolUDP, SrcIP: a, DstIP: ip(dst)}
		network = h
		_ = u.SetNetworkLayerForChecksum(h)
	}
	return serialize(ethernet(kind), network, u, gopacket.Payload(p))
}

// stampMode enables the stamps of received frames.
func (r *rig) stampMode(kind, match uint32) {
	r.write(rETQF+3*4, 1<<31|etqf1588|0x88f7)
	r.write(rTSYNCRXCTL, tsyncEnable|kind<<1)
	r.write(rRXMTRL, 319<<16|match)
}

// Which messages are stamped. The columns are the modes that drivers use: Linux V2 events
// and V1 over UDP, DPDK Sync over Ethernet, libmoon Sync over both.
func TestMessagesThatAreStamped(t *testing.T) {
	const sync, delayReq, pdelayReq, followUp, delayResp = 0, 1, 2, 8, 9
	v4 := func(p []byte) []byte { return ptpUDP(p, "10.0.0.1", "224.0.1.129", 319) }
	modes := []struct{ kind, match uint32 }{
		{stampEventV2, 0}, {stampV2, 0}, {stampL2V2, 0}, {stampL4V1, 0}, {stampV2, delayReq << 8}, {stampL4V1, delayReq},
	}
	for name, c := range map[string]struct {
		frame   []byte
		stamped string // by mode
	}{
		"Sync over Ethernet":            {ptpL2(ptpV2(sync, 1)), "yyy---"},
		"Sync over IPv4":                {v4(ptpV2(sync, 1)), "yy----"},
		"Sync over IPv6":                {ptpUDP(ptpV2(sync, 1), "fe80::1", "ff02::181", 319), "yy----"},
		"Delay_Req over Ethernet":       {ptpL2(ptpV2(delayReq, 1)), "y---y-"},
		"Delay_Req over IPv4":           {v4(ptpV2(delayReq, 1)), "y---y-"},
		"Pdelay_Req over Ethernet":      {ptpL2(ptpV2(pdelayReq, 1)), "yyy-y-"},
		"Follow_Up over Ethernet":       {ptpL2(ptpV2(followUp, 1)), "------"},
		"Delay_Resp over IPv4":          {v4(ptpV2(delayResp, 1)), "------"},
		"version 1 Sync":                {v4(ptpV1(sync)), "---y--"},
		"version 1 Delay_Req":           {v4(ptpV1(delayReq)), "-----y"},
		"Sync to the general port":      {ptpUDP(ptpV2(sync, 1), "10.0.0.1", "224.0.1.129", 320), "------"},
		"Sync in a VLAN":                {tagged(ptpL2(ptpV2(sync, 1)), 7), "yyy---"},
		"UDP that is too short":         {v4(ptpV2(sync, 1)[:33]), "------"},
		"a first fragment":              {fragment(v4(ptpV2(sync, 1))), "------"},
		"another EtherType with its 88": {plain(100), "------"},
	} {
		for i, m := range modes {
			r := newRig(t, Config{})
			r.promiscuous()
			r.stampMode(m.kind, m.match)
			x := r.rx(0, 8, 2048)
			r.w.push(c.frame)
			r.run()
			g, ok := x.pop()
			require.True(t, ok, name)
			require.Equal(t, c.stamped[i] == 'y', g.status()&stTS != 0, "%s, mode %d", name, i)
			require.Equal(t, c.stamped[i] == 'y', r.read(rTSYNCRXCTL)&tsyncValid != 0, "%s, mode %d", name, i)
		}
	}
}

// fragment makes an IPv4 packet the first of several fragments.
func fragment(f []byte) []byte {
	f = append([]byte(nil), f...)
	f[20] |= 0x20 // more fragments
	f[24], f[25] = 0, 0
	binary.LittleEndian.PutUint16(f[24:], ^fold(sum(f[14:34])))
	return f
}

// Messages are stamped only if the clock is told to, and over Ethernet by the filter's bit.
func TestStampsAreOffAfterReset(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	require.EqualValues(t, 0x319, r.read(rRXMTRL)>>16)
	x := r.rx(0, 8, 2048)
	r.write(rETQF+3*4, 1<<31|etqf1588|0x88f7)
	r.w.push(ptpL2(ptpV2(0, 1)))
	r.run()
	r.write(rTSYNCRXCTL, tsyncEnable|stampEventV2<<1)
	r.write(rETQF+3*4, 1<<31|0x88f7)
	r.w.push(ptpL2(ptpV2(0, 2)))
	r.run()
	for range 2 {
		g, ok := x.pop()
		require.True(t, ok)
		require.Zero(t, g.status()&stTS)
		require.NotZero(t, g.lo>>4&ptETQF)
	}
}

// stampedClock starts SYSTIM at 2^21 a nanosecond at a time of the line (Linux,
// ixgbe_ptp_start_cyclecounter), and clears it.
func (r *rig) stampedClock(at time.Duration) {
	r.passAt(at)
	r.write(rSYSTIML, 0)
	r.write(rSYSTIML+4, 0)
	r.write(rTIMINCA, 1<<24|0xcccccc)
}

func (r *rig) rxStamp() uint64 {
	low := r.read(rRXSTMPL)
	return uint64(r.read(rRXSTMPH))<<32 | uint64(low)
}

func (r *rig) txStamp() uint64 {
	low := r.read(rTXSTMPL)
	return uint64(r.read(rTXSTMPH))<<32 | uint64(low)
}

// cycles is SYSTIM after some tenths of a nanosecond.
func cycles(ticks int64) uint64 { return uint64(ticks/64) * 0xcccccc }

// The first stamp is kept until its high half is read; frames that come in between have no
// TS, as Linux assumes (ixgbe_ptp_rx_hang).
func TestReceiveStampIsThatOfTheWireAndIsKeptUntilRead(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	r.stampMode(stampEventV2, 0)
	x := r.rx(0, 8, 2048)
	r.run()
	at := time.Hour
	r.stampedClock(at)
	zero := r.NIC.tx.zero + int64(at)
	first, second := ptpL2(ptpV2(0, 0x1234)), ptpL2(ptpV2(1, 0x1235))
	r.w.pushAt(zero+1_000_000, first)
	r.w.pushAt(zero+1_100_000, second)
	r.passAt(at + 2*time.Millisecond)
	var ts []bool
	for _, g := range x.all() {
		ts = append(ts, g.status()&stTS != 0)
	}
	require.Equal(t, []bool{true, false}, ts)
	require.EqualValues(t, 0x3412, r.read(rRXSATRH)>>16, "the sequence number, in the order of the wire")
	require.EqualValues(t, binary.LittleEndian.Uint32(first[14+22:]), r.read(rRXSATRL))
	require.NotZero(t, r.read(rTSYNCRXCTL)&tsyncValid)
	r.write(rTSYNCRXCTL, tsyncEnable|stampEventV2<<1)
	require.NotZero(t, r.read(rTSYNCRXCTL)&tsyncValid, "writing keeps the stamp")
	require.Equal(t, cycles(1_000_0000-int64(len(first)+crcSize)*8), r.rxStamp())
	require.Zero(t, r.read(rTSYNCRXCTL)&tsyncValid)

	r.w.pushAt(zero+3_000_000, second)
	r.passAt(at + 4*time.Millisecond)
	require.Equal(t, cycles(3_000_0000-int64(len(second)+crcSize)*8), r.rxStamp())
}

func TestSentFrameIsStampedWhenItLeaves(t *testing.T) {
	r := newRig(t, Config{})
	x := r.tx()
	at := x.linkUp()
	r.stampedClock(at)
	x.data(plain(100), advanced|td1588)
	x.post(at + time.Millisecond)
	r.passAt(at + 2*time.Millisecond)
	require.Zero(t, r.read(rTSYNCTXCTL)&tsyncValid, "disabled")

	r.write(rTSYNCTXCTL, tsyncEnable)
	x.data(plain(1000), advanced)
	x.data(plain(100), advanced|td1588)
	x.data(plain(100), advanced|td1588)
	x.post(at + 3*time.Millisecond)
	require.Zero(t, r.read(rTSYNCTXCTL)&tsyncValid, "the frame is on the line")
	r.passAt(at + 4*time.Millisecond)
	require.NotZero(t, r.read(rTSYNCTXCTL)&tsyncValid)
	// Behind the first frame, its gap, and the preamble.
	begin := int64(txPreamble+1000+crcSize+txGap+txPreamble) * 8
	require.Equal(t, cycles(3_000_0000+begin), r.txStamp())
	require.Zero(t, r.read(rTSYNCTXCTL)&tsyncValid, "the second frame was not stamped")
}

// At 1 Gb/s a cycle is 64 ns (Linux: IXGBE_INCVAL_1GB), and the line is ten times slower.
func TestStampAt1Gigabit(t *testing.T) {
	r := newRig(t, Config{Module: ModuleSX})
	r.write(rAUTOC, lms1GNoAN<<13)
	x := r.tx()
	r.link.ready = time.Now().Add(-time.Second)
	at := x.linkUp()
	r.passAt(at)
	require.EqualValues(t, 10, r.NIC.tx.bit)
	r.write(rTIMINCA, 1<<24|1)
	r.write(rTSYNCTXCTL, tsyncEnable)
	x.data(plain(100), advanced|td1588)
	x.post(at + time.Millisecond)
	r.passAt(at + 2*time.Millisecond)
	require.EqualValues(t, (1_000_0000+txPreamble*80)/640, r.txStamp())
}

// The oscillator's error is in SYSTIM and in the stamps; TIMINCA corrects it, as the
// kernel's clock_adjtime does by ixgbe_ptp_adjfine_82599.
func TestClockErrorIsCorrectedByTIMINCA(t *testing.T) {
	r := newRig(t, Config{ClockError: 100})
	x := r.tx()
	at := x.linkUp()
	r.stampedClock(at)
	after := func(d time.Duration) uint64 {
		r.passAt(at + d)
		low := r.read(rSYSTIML)
		return uint64(r.read(rSYSTIML+4))<<32 | uint64(low)
	}
	second := float64(uint64(1_000_000_000) << 21)
	one := after(time.Second)
	require.InDelta(t, second*1.0001, float64(one), second*1e-7)
	r.write(rTIMINCA, 1<<24|(0xcccccc-0xcccccc/10000))
	require.InDelta(t, second, float64(after(2*time.Second)-one), second*2e-7)
	// A stamp of a time before the change of the rate is not far off.
	require.InDelta(t, float64(one), float64(r.systemTime(r.NIC.tx.ticks(r.NIC.tx.start.Add(at+time.Second)))), second*3e-7)
}

// Frames of the network are stamped with pools, too; frames between pools do not pass the
// MAC and are not.
func TestStampsWithPools(t *testing.T) {
	r := newVirtual(t, 2)
	r.stampMode(stampEventV2, 0)
	f := ptpL2(ptpV2(0, 1))
	copy(f, address(1))
	copy(f[6:], address(0))
	pools, network := r.send(0, f)
	require.Equal(t, []int{1}, pools)
	require.False(t, network)
	require.Zero(t, r.read(rTSYNCRXCTL)&tsyncValid)
	require.Equal(t, []int{1}, r.receive(f))
	require.NotZero(t, r.read(rTSYNCRXCTL)&tsyncValid)
}
