package sim

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRegistersDoNotOverlap(t *testing.T) {
	dec, err := newDecoder(registerTable(variants[0]))
	require.NoError(t, err)
	seen := 0
	for _, k := range dec.at {
		if k != 0 {
			seen++
		}
	}
	require.Greater(t, seen, 4000)
}

func TestOverlapsAndRepeatsAreErrors(t *testing.T) {
	for _, rows := range [][]register{
		{one("A", 0x10, rw, 0, ""), one("B", 0x10, rw, 0, "")},
		{many("A", 0x10, 4, 4, rw, 0, ""), one("B", 0x1c, rw, 0, "")},
		{one("A", 0x10, rw, 0, ""), one("A", 0x20, rw, 0, "")},
		{one("A", 0x10, rw, 0, "").alias(0x20, 4, 2)},
		{many("A", 0x10, 4, 4, rw, 0, "").alias(0x1c, 4, 1)},
		{many("A", 0x10, 4, 4, rw, 0, "").and(0x1c, 4, 1)},
		{one("A", 0x12, rw, 0, "")},
		{one("A", bar0Size, rw, 0, "")},
	} {
		_, err := newDecoder(rows)
		require.Error(t, err)
	}
}

func TestEveryRegisterKeepsWhatItsAccessAllows(t *testing.T) {
	r := newRig(t, Config{})
	for k := range r.dec.rows {
		row := &r.dec.rows[k]
		if row.read != nil || row.write != nil || row.name == "RAL" || row.name == "RAH" {
			continue
		}
		for i, off := range row.each {
			was := r.read(off)
			r.write(off, 0xffffffff)
			switch row.access {
			case rw, sc:
				require.Equal(t, was&^row.mask|row.mask, r.read(off), row.label(i))
			default:
				require.Equal(t, was, r.read(off), row.label(i))
			}
		}
	}
}

func TestAliasesShareOneRegister(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b uint32
	}{
		{"SRRCTL[3]", rxReg(3, qSRR), 0x210c},
		{"DCA_RXCTRL[15]", rxReg(15, qDCA), 0x223c},
		{"RAL[15]", rRAL + 8*15, 0x5400 + 8*15},
		{"RETA[31]", rRETA + 124, 0x5c7c},
		{"RSSRK[9]", rRSSRK + 36, 0x5ca4},
		{"MRQC", rMRQC, 0x5818},
		{"PSRTYPE[2]", 0xea08, 0x5488},
	} {
		r := newRig(t, Config{})
		r.write(c.a, 0x01020304)
		require.EqualValues(t, 0x01020304, r.read(c.b), c.name)
		r.write(c.b, 0x05060708)
		require.EqualValues(t, 0x05060708, r.read(c.a), c.name)
	}
	r := newRig(t, Config{})
	r.add(cQPTC(3), 7)
	require.EqualValues(t, 7, r.read(0x868c))
	require.Zero(t, r.read(cQPTC(3)))
}

func TestQueuesFrom64OnHaveTheirOwnBlock(t *testing.T) {
	r := newRig(t, Config{})
	r.write(0xd000, 0x12345680)
	require.EqualValues(t, 0x12345680, r.read(rxReg(64, qBAL)))
	require.Zero(t, r.read(rxReg(63, qBAL)))
	r.write(0xdfd8, 9) // RDT[127]
	require.EqualValues(t, 9, r.bells.rx(127).Load())
}

func TestCountersStickAtTheirMaximum(t *testing.T) {
	r := newRig(t, Config{})
	r.add(cGPRC, 1<<33)
	require.EqualValues(t, 0xffffffff, r.read(cGPRC))
	require.Zero(t, r.read(cGPRC))
	r.add(cGORC, 3<<32|5)
	require.EqualValues(t, 5, r.read(cGORC))
	r.add(cGORC, 2)
	require.EqualValues(t, 3, r.read(cGORC+4))
	require.EqualValues(t, 2, r.read(cGORC), "what came between the two reads stays")
}

func TestDumpNamesRegistersAndChangesNothing(t *testing.T) {
	r := newRig(t, Config{})
	r.write(rxReg(70, qLEN), 1024)
	r.add(cGPRC, 3)
	var b strings.Builder
	require.NoError(t, r.DumpRegisters(&b, false))
	require.Contains(t, b.String(), "RDLEN[70]")
	require.Contains(t, b.String(), "GPRC               RC   00000003")
	require.EqualValues(t, 3, r.read(cGPRC))
	b.Reset()
	require.NoError(t, r.DumpRegisters(&b, true))
	require.Contains(t, b.String(), "TXDCTL[127]")
}

func TestIOWindowReachesRegisters(t *testing.T) {
	r := newRig(t, Config{})
	require.NoError(t, r.WriteRegion(regionIO, 0, []byte{0x80, 0x50, 0, 0})) // FCTRL
	require.NoError(t, r.WriteRegion(regionIO, 4, []byte{0, 2, 0, 0}))
	require.EqualValues(t, 0x200, r.read(rFCTRL))
	p := make([]byte, 4)
	require.NoError(t, r.ReadRegion(regionIO, 4, p))
	require.Equal(t, []byte{0, 2, 0, 0}, p)
}

func TestBadAccessesAreErrors(t *testing.T) {
	r := newRig(t, Config{})
	for _, region := range []int{0, 2, 3, 7, 1, 42} {
		require.Error(t, r.ReadRegion(region, 1<<40, make([]byte, 4)), region)
		require.Error(t, r.WriteRegion(region, 1<<40, make([]byte, 4)), region)
	}
	require.Error(t, r.WriteRegion(0, 2, make([]byte, 4)))
	require.Error(t, r.WriteRegion(0, 0, make([]byte, 2)))
}

func TestEITRContinuesElsewhereFrom24(t *testing.T) {
	r := newRig(t, Config{})
	r.write(0x12300, 10<<3)
	r.write(rEITR, 3<<3)
	require.EqualValues(t, 20000, r.interval(24))
	require.EqualValues(t, 6000, r.interval(0))
}
