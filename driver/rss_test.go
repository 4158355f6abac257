package driver_test

import (
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/driver/drivertest"
)

// Vectors of Microsoft's "Verifying the RSS Hash Calculation".
func TestToeplitzAgreesWithMicrosoft(t *testing.T) {
	for _, c := range []struct {
		src, dst      string
		ip, withPorts uint32
	}{
		{"66.9.149.187:2794", "161.142.100.80:1766", 0x323e8fc2, 0x51ccc178},
		{"199.92.111.2:14230", "65.69.140.83:4739", 0xd718262a, 0xc626b0ea},
		{"24.19.198.95:12898", "12.22.207.184:38024", 0xd2d0a5de, 0x5c2b394a},
		{"[3ffe:2501:200:1fff::7]:2794", "[3ffe:2501:200:3::1]:1766", 0x2cc18cd5, 0x40207d3d},
		{"[3ffe:501:8::260:97ff:fe40:efab]:14230", "[ff02::1]:4739", 0x0f0c461c, 0xdde51bbf},
	} {
		src, dst := netip.MustParseAddrPort(c.src), netip.MustParseAddrPort(c.dst)
		require.Equal(t, c.withPorts, driver.MicrosoftKey.Hash(src, dst))
		src, dst = netip.AddrPortFrom(src.Addr(), 0), netip.AddrPortFrom(dst.Addr(), 0)
		require.Equal(t, c.ip, driver.MicrosoftKey.Hash(src, dst))
	}
}

func TestSymmetricKeyHashesBothDirectionsEqually(t *testing.T) {
	a, b := netip.MustParseAddrPort("10.1.2.3:4567"), netip.MustParseAddrPort("10.9.8.7:80")
	require.Equal(t, driver.SymmetricKey.Hash(a, b), driver.SymmetricKey.Hash(b, a))
	require.NotEqual(t, driver.MicrosoftKey.Hash(a, b), driver.MicrosoftKey.Hash(b, a))
	c, d := netip.MustParseAddrPort("[2001:db8::1]:53"), netip.MustParseAddrPort("[2001:db8::2]:1024")
	require.Equal(t, driver.SymmetricKey.Hash(c, d), driver.SymmetricKey.Hash(d, c))
}

func TestDefaultTableTakesTheQueuesInTurn(t *testing.T) {
	for _, c := range []struct{ queues, last int }{{1, 0}, {3, 127 % 3}, {16, 15}, {17, 15}, {64, 15}} {
		p, err := driver.Open(drivertest.NewDevice(), driver.Config{Queues: c.queues, RingSize: 8, MaxFrame: 1514})
		require.NoError(t, err)
		require.Equal(t, 0, p.RSS().QueueOf(0xffffff80))
		require.Equal(t, c.last, p.RSS().QueueOf(0xffffffff), "%d queues", c.queues)
		require.NoError(t, p.Close())
	}
}

func TestInvalidRSSIsRefused(t *testing.T) {
	p, err := driver.Open(drivertest.NewDevice(), driver.Config{Queues: 4, RingSize: 8, MaxFrame: 1514})
	require.NoError(t, err)
	before := p.RSS()
	beyond := make([]int, driver.RSSTableSize)
	beyond[5] = 4
	require.ErrorContains(t, p.SetRSS(driver.RSS{Table: beyond}), "queue 4 at 5: want 0 to 3")
	require.ErrorContains(t, p.SetRSS(driver.RSS{Table: []int{0, 1}}), "2 entries: want 128")
	require.ErrorContains(t, p.SetRSS(driver.RSS{Fields: 1 << 7}), "hashed fields 0x80")
	require.Equal(t, before, p.RSS())
	require.NoError(t, p.Close())
	require.ErrorIs(t, p.SetRSS(driver.RSS{}), os.ErrClosed)
}
