package sim

import (
	"fmt"
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
