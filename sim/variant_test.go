package sim

import (
	"fmt"
	"math/bits"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/sim/wire"
)

func TestOptionIDSelectsTheController(t *testing.T) {
	for _, kind := range variants {
		for _, format := range []string{"%04x", "0x%04X"} {
			cfg, rest, err := ParseConfig([]wire.Option{{Key: "id", Value: fmt.Sprintf(format, kind.id)}, {Key: "gen"}})
			require.NoError(t, err)
			require.Equal(t, kind.id, cfg.ID)
			require.Len(t, rest, 1)
		}
		r := newRig(t, Config{ID: kind.id})
		require.EqualValues(t, uint32(kind.id)<<16|0x8086, r.pci.load32(0))
		require.EqualValues(t, uint32(kind.board())<<16|0x8086, r.pci.load32(0x2c))
		require.Equal(t, kind.medium == mediumCage, r.i2c.module != nil)
	}
	for value, want := range map[string]string{
		"x999": "no device id; want 82599, ",
		"0":    "no device id; want ",
		"10c6": "device 10c6 is not modelled; want ",
		"1558": "device 1558 is not modelled: the model has no QSFP+ module; want ",
		"10ed": "a virtual function: option vfs gives the port some",
	} {
		_, err := Open("gen,count=1,id=" + value)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "10fb (82599ES SFP+)", "the list")
		require.Equal(t, 1, strings.Count(err.Error(), "option id="))
	}
	_, err := New(Config{ID: 0x1558}, &testWire{})
	require.ErrorContains(t, err, "create NIC: device 1558 is not modelled")
}

func TestNamesOfOptionIDAreThoseOfAController(t *testing.T) {
	for name, id := range variantNames {
		got, err := parseID(strings.ToUpper(name))
		require.NoError(t, err)
		require.Equal(t, id, got)
		_, err = variantOf(id)
		require.NoError(t, err)
	}
}

// The board's EEPROM sets the mode; a backplane negotiates what both AUTOC and the board
// offer.
func TestLinkModeOfABoardWithoutACage(t *testing.T) {
	for _, c := range []struct {
		id    uint16
		set   uint32 // of AUTOC
		clear uint32
		want  uint32 // LINKS.SPEED
	}{
		{0x1517, 0, 0, speed10G},
		{0x1517, 0, autocOffersKR, speed1G},
		{0x1517, autocOffersKX4, autocOffersKR, speed1G}, // the board has no KX4
		{0x1517, 0, autocOffersKR | autocOffersKX, 0},
		{0x10f7, 0, autocOffersKX4, speed1G},
		{0x10f8, 0, autocOffersKX4, speed10G},
		{0x10f9, 0, 0, speed10G},
		{0x10fc, 0, 0, speed10G},
		{0x154f, 0, 0, speed10G},
		{0x154f, 0, 3 << 13, 0}, // 1 Gb/s without negotiation
	} {
		r := newRig(t, Config{ID: c.id, LinkDelay: time.Millisecond})
		autoc := r.read(rAUTOC)&^c.clear | c.set
		r.write(rAUTOC, autoc|autocRestart)
		if c.want == 0 {
			time.Sleep(2 * time.Millisecond)
			r.run()
			require.Zero(t, r.read(0x42a4)&linksUp, "%04x, AUTOC %08x", c.id, autoc)
			continue
		}
		require.Eventually(t, func() bool { r.run(); return r.read(0x42a4)&linksUp != 0 }, 30*time.Second, time.Millisecond)
		v := r.read(0x42a4)
		require.Equal(t, c.want, v&speed10G, "%04x, AUTOC %08x", c.id, autoc)
		require.Equal(t, autoc>>13&7 == lmsKX4KXKR, v&linksKXDone != 0)
	}
}

// mdio reads a register of the PHY as Linux does (ixgbe_read_phy_reg_mdi).
func (r *rig) mdio(mmd, at uint32) uint16 {
	for _, operation := range []uint32{mdioAddress, mdioRead} {
		r.write(rMSCA, at|mmd<<16|operation<<26|mdioCommand)
		require.Zero(r, r.read(rMSCA)&mdioCommand)
	}
	return uint16(r.read(rMSRWD) >> 16)
}

func (r *rig) mdioWrite(mmd, at uint32, v uint16) {
	r.write(rMSRWD, uint32(v))
	for _, operation := range []uint32{mdioAddress, mdioWrite} {
		r.write(rMSCA, at|mmd<<16|operation<<26|mdioCommand)
		require.Zero(r, r.read(rMSCA)&mdioCommand)
	}
}

func TestPHYIsIdentifiedOverMDIO(t *testing.T) {
	for id, want := range map[uint16]uint32{0x1528: 0x01540200, 0x1563: 0x01540221} {
		r := newRig(t, Config{ID: id})
		require.EqualValues(t, 0x8000, r.mdio(mmdPMA, 8)&0xc000, "a device is present")
		require.Equal(t, want, uint32(r.mdio(mmdPMA, 2))<<16|uint32(r.mdio(mmdPMA, 3)))
		require.EqualValues(t, 0x31, r.mdio(mmdPMA, 4), "speeds")
		require.EqualValues(t, 0xffff, r.mdio(2, 2), "no such MMD")
	}
}

// hostRead reads words of the NVM by the host interface as Linux does
// (ixgbe_read_ee_hostif_buffer_X550).
func (r *rig) hostRead(at, n uint32) (words []uint16) {
	require.NotZero(r, r.read(rHICR)&hicrEnabled)
	r.write(rFLEXMNG, hostRead|6<<16|0xff<<24)
	r.write(rFLEXMNG+4, bits.ReverseBytes32(2*at))
	r.write(rFLEXMNG+8, uint32(bits.ReverseBytes16(uint16(2*n))))
	r.write(rHICR, r.read(rHICR)|hicrCommand)
	require.EqualValues(r, hicrEnabled|hicrValid, r.read(rHICR))
	for i := range n {
		words = append(words, uint16(r.read(rFLEXMNG+hostData+i/2*4)>>(16*(i%2))))
	}
	return words
}

func TestNVMOfAnX550IsReadByTheHostInterface(t *testing.T) {
	r := newRig(t, Config{ID: 0x1563})
	require.Equal(t, r.eeprom[:0x42], r.hostRead(0, 0x42))
	require.Equal(t, r.eeprom[0x101:0x104], r.hostRead(0x101, 3))
	require.Equal(t, r.eeprom[0x100:0x200], r.hostRead(0x100, 256))
	require.EqualValues(t, 0xbaba, sumEEPROM(r.eeprom, r.variant)+r.eeprom[eeChecksum])
	r.write(rFLEXMNG, 0x99)
	r.write(rHICR, hicrEnabled|hicrCommand)
	require.EqualValues(t, hicrEnabled, r.read(rHICR), "an unknown command is not carried out")
	require.Zero(t, r.read(rEERD), "no EERD")
}

func TestPHYNegotiatesTheFastestSpeed(t *testing.T) {
	for _, id := range []uint16{0x1528, 0x1563} {
		r := newRig(t, Config{ID: id, LinkDelay: time.Millisecond, PeerSpeed: 1000})
		up := func() uint32 {
			require.Eventually(t, func() bool { r.run(); return r.read(0x42a4)&linksUp != 0 }, 30*time.Second, time.Millisecond)
			return r.read(0x42a4) & speed10G
		}
		down := func() {
			time.Sleep(2 * time.Millisecond)
			r.run()
			require.Zero(t, r.read(0x42a4)&linksUp)
		}
		require.EqualValues(t, speed1G, up(), "the other end has no more")
		r.write(rAUTOC, r.read(rAUTOC)|autocRestart)
		require.EqualValues(t, speed1G, up(), "AUTOC does not matter")
		r.mdioWrite(mmdAN, 0xc400, 0)
		require.EqualValues(t, speed1G, up(), "an offer takes effect at the next negotiation")
		r.mdioWrite(mmdAN, phyControl, phyRestart)
		require.Zero(t, r.read(0x42a4)&linksUp)
		require.EqualValues(t, speed100M, up())
		require.EqualValues(t, 0x24, r.mdio(mmdAN, phyStatus)&0x24, "link, negotiation has ended")
		r.mdioWrite(mmdAN, 0x10, 0)
		r.mdioWrite(mmdAN, phyControl, phyRestart)
		down()
		r.mdioWrite(mmdAN, 0xc400, 1<<15)
		r.mdioWrite(mmdVendor, phyControl, phyLowPower)
		down()
		r.mdioWrite(mmdVendor, phyControl, 0)
		require.EqualValues(t, speed1G, up())
	}
}

func TestSemaphoreOfAnX540IsSetByReading(t *testing.T) {
	const sync, regsmp = 0x10160, 1 << 31
	r := newRig(t, Config{ID: 0x1528})
	r.write(0x10140, 2)
	require.Zero(t, r.read(0x10140)&2, "no SWESMBI")
	require.Zero(t, r.read(sync)&regsmp, "free, and then owned")
	require.NotZero(t, r.read(sync)&regsmp)
	r.write(sync, 1)
	require.EqualValues(t, 1, r.read(sync))
}

func TestIndirectionTableOfAnX550(t *testing.T) {
	for id, want := range map[uint16]map[uint32]uint32{
		0x1528: {5: 7, 127: 7, 128: 7, 511: 7}, // 4 bits, 128 entries in turn
		0x1563: {5: 0x27, 127: 0x27, 128: 0x28, 511: 0x28},
	} {
		r := newRig(t, Config{ID: id})
		for i := range uint32(32) {
			r.write(rRETA+4*i, 0x27272727)
		}
		for i := range uint32(96) {
			r.write(rERETA+4*i, 0x28282828)
		}
		r.configure()
		c := &r.NIC.rx.cfg
		for hash, queue := range want {
			require.EqualValues(t, queue, c.reta[hash&c.retaMask&511], "%04x, hash %d", id, hash)
		}
	}
}

func TestPacketBufferOfAnX540(t *testing.T) {
	r := newRig(t, Config{ID: 0x1528})
	require.EqualValues(t, 384<<10, r.read(rRXPBSIZE))
	r.write(rRXPBSIZE, 512<<10)
	r.configure()
	require.Equal(t, 384<<10, r.NIC.rx.cfg.buffer, "there is no more")
}

func TestVirtualFunctionsNeedAn82599(t *testing.T) {
	_, err := Open("gen,count=1,id=x540,vfs=2")
	require.ErrorContains(t, err, "virtual functions of the X540 are not modelled: want an 82599")
	_, err = Open("gen,count=1,peer=40g")
	require.ErrorContains(t, err, "option peer=40g: want 100m, 1g or 10g")
}
