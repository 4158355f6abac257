package driver_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/driver/drivertest"
)

// serialID is a valid serial ID with some bytes set.
func serialID(set map[int]byte) []byte {
	id := make([]byte, 96)
	id[0] = 3
	copy(id[20:], "ACME            ")
	copy(id[40:], "X\x01\xff             ")
	for at, v := range set {
		id[at] = v
	}
	for _, v := range id[:63] {
		id[63] += v
	}
	return id
}

func TestSerialIDsAreDecoded(t *testing.T) {
	for _, c := range []struct {
		set  map[int]byte
		want driver.ModuleKind
		dual bool
	}{
		{map[int]byte{3: 0x10}, driver.Module10GSR, false},
		{map[int]byte{3: 0x20}, driver.Module10GLR, false},
		{map[int]byte{3: 0x10, 6: 1}, driver.Module10GSR, true},
		{map[int]byte{3: 0x40}, driver.UnknownModule, false}, // LRM
		{map[int]byte{8: 4}, driver.ModulePassiveDA, false},
		{map[int]byte{8: 8, 60: 4}, driver.ModuleActiveDA, false},
		{map[int]byte{8: 8}, driver.UnknownModule, false},
		{map[int]byte{6: 1}, driver.Module1GSX, false},
		{map[int]byte{6: 2}, driver.Module1GLX, false},
		{map[int]byte{6: 8}, driver.Module1GT, false},
		{nil, driver.UnknownModule, false},
	} {
		m, err := driver.ParseModule(serialID(c.set))
		require.NoError(t, err)
		require.Equal(t, c.want, m.Kind, "%v", c.set)
		require.Equal(t, c.dual, m.Dual)
		require.Equal(t, string(c.want)+" (ACME X..)", m.String())
	}
	id := serialID(nil)
	id[63]++
	_, err := driver.ParseModule(id)
	require.ErrorContains(t, err, "checksum")
	_, err = driver.ParseModule(serialID(map[int]byte{0: 0x0d}))
	require.ErrorContains(t, err, "identifier is 0x0d")
}

// The checksum does not cover the list of module settings: its pointers may have any value.
func TestPointerOutOfTheEEPROMIsAnError(t *testing.T) {
	p, err := driver.Open(drivertest.NewDevice(), driver.Config{RingSize: 64})
	require.NoError(t, err)
	v, err := p.ReadEEPROM(1)
	require.NoError(t, err)
	require.Equal(t, uint16(0x101), v)
	_, err = p.ReadEEPROM(0x8001)
	require.ErrorContains(t, err, "EEPROM points to word 0x8001 of 0x4000")
	require.NoError(t, p.Close())
}
