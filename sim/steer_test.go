package sim

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

// tuple writes 5-tuple filter i, for all addresses and ports but a source.
func (r *rig) tuple(i uint32, priority, ignore, protocol, source, queue uint32) {
	r.write(rSAQF+4*i, source)
	r.write(rL34TIMIR+4*i, 1<<12|1<<19|queue<<21)
	r.write(rFTQF+4*i, 1<<31|1<<30|ignore<<25|priority<<2|protocol)
}

// The highest priority decides, then the lowest index; the SYN filter comes before or
// behind; all of them come before the Flow Director, and that before RSS (datasheet 7.1.2).
func TestQueueAssignmentOrder(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	r.rss(allRSS)
	syn := tcp4("10.0.0.1", "10.0.0.2", 1, 2, 40)
	syn[14+20+13] = 2
	parse := func() meta {
		r.configure()
		return r.NIC.rx.cfg.parse(syn)
	}
	hash := uint32(parse().lo >> 32)
	require.EqualValues(t, hash&3, parse().queue, "RSS")

	r.write(rFDIRM, 1|2|4|16|32)
	r.write(rFDIRHKEY, 0x3dad14e2)
	r.write(rRXPBSIZE, 448<<10)
	r.write(rFDIRCTRL, 1|fdirPerfect)
	r.write(rFDIRIPSA, binary.LittleEndian.Uint32(syn[26:]))
	r.write(rFDIRIPDA, binary.LittleEndian.Uint32(syn[30:]))
	r.write(rFDIRPORT, 2<<16|1)
	cmd := uint32(flowTCP<<5 | fdirQueueEn | 20<<16)
	p := r.fdir.registers(r.NIC, cmd)
	r.write(rFDIRHASH, p.hash(0x3dad14e2)&(fdirBuckets-1)|5<<16)
	r.write(rFDIRCMD, cmd|fdirCmdAdd)
	require.EqualValues(t, 20, parse().queue, "Flow Director")
	require.EqualValues(t, hash, parse().lo>>32, "without Report-Status the hash stays")
	require.NotZero(t, parse().status()&stFLM)

	r.write(rSYNQF, 1|30<<1)
	require.EqualValues(t, 30, parse().queue, "SYN filter of low priority")

	source := binary.LittleEndian.Uint32(syn[26:])
	r.tuple(7, 1, ignoreDst|ignoreSrcPort|ignoreDstPort|ignoreProtocol, 0, source, 40)
	require.EqualValues(t, 40, parse().queue, "5-tuple filter")
	r.tuple(3, 1, ignoreDst|ignoreSrcPort|ignoreDstPort|ignoreProtocol, 0, source, 41)
	require.EqualValues(t, 41, parse().queue, "the lower index")
	r.tuple(9, 2, ignoreSrc|ignoreDst|ignoreSrcPort|ignoreDstPort, 0, 0, 42)
	require.EqualValues(t, 42, parse().queue, "the higher priority, TCP")
	r.tuple(9, 2, ignoreSrc|ignoreDst|ignoreSrcPort|ignoreDstPort, 1, 0, 42)
	require.EqualValues(t, 41, parse().queue, "UDP does not match")

	r.write(rSYNQF, 1<<31|1|30<<1)
	require.EqualValues(t, 30, parse().queue, "SYN filter of high priority")
	require.Zero(t, r.Stats().Faults, r.Stats().LastFault)
}

// With pools, the queue of a filter is the chip's, and RSS that of the pool.
func TestFilterQueueIsNotThePools(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	r.rss(allRSS)
	r.write(rMRQC, allRSS|mrqePools64RSS)
	r.tuple(0, 1, ignoreSrc|ignoreDst|ignoreSrcPort|ignoreDstPort, 0, 0, 99)
	r.configure()
	c := &r.NIC.rx.cfg
	require.EqualValues(t, 99, c.poolQueue(7, c.parse(tcp4("10.0.0.1", "10.0.0.2", 1, 2, 40))))
	require.EqualValues(t, 14, c.poolQueue(7, c.parse(udp4("10.0.0.1", "10.0.0.2", 1, 2, 40)))&^1)
}

func TestFlowDirectorCommands(t *testing.T) {
	r := newRig(t, Config{})
	r.write(rFDIRCTRL, 1|fdirPerfect)
	require.NotZero(t, r.read(rFDIRCTRL)&fdirInitDone)
	const free, ustat, fstat = 0x0ee38, 0x0ee50, 0x0ee54
	require.EqualValues(t, 2046, r.read(free))
	add := func(hash, index, queue uint32) {
		r.write(rFDIRHASH, index<<16|hash)
		r.write(rFDIRCMD, fdirCmdAdd|fdirQueueEn|queue<<16)
		require.Zero(t, r.read(rFDIRCMD)&3)
	}
	query := func(hash, index uint32) uint32 {
		r.write(rFDIRHASH, index<<16|hash)
		r.write(rFDIRCMD, fdirCmdQuery)
		return r.read(rFDIRCMD)
	}
	add(1, 1, 5)
	add(1, 2, 6)
	require.EqualValues(t, 2044, r.read(free))
	require.EqualValues(t, fdirValid|fdirQueueEn|6<<16, query(1, 2))
	require.Zero(t, query(2, 2)&fdirValid)
	r.write(rFDIRHASH, 2<<16|1)
	r.write(rFDIRCMD, fdirCmdRemove)
	require.Zero(t, query(1, 2)&fdirValid)
	r.write(rFDIRCMD, fdirCmdRemove)
	require.EqualValues(t, 1<<16|2, r.read(ustat))
	require.EqualValues(t, 1<<16, r.read(fstat))
	require.Zero(t, r.read(ustat), "cleared by reading")
	for i := range uint32(2046) {
		add(100+i%8, 10+i, 1)
	}
	require.Zero(t, r.read(free))
	require.EqualValues(t, 1, r.read(fstat), "the table is full")
	r.write(rFDIRCMD, fdirClear)
	r.write(rFDIRCMD, 0)
	require.EqualValues(t, 2046, r.read(free))
}
