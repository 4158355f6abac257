package main

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/internal/jsondoc"
	"github.com/ixcap/ixcap/pci"
	_ "github.com/ixcap/ixcap/pci/vfiouser"
	"github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/wire"
)

func TestDocumentedKeysAreTheEncodedOnes(t *testing.T) {
	jsondoc.Check(t, "../../docs/JSON.md", "nicsim", map[string]reflect.Type{"": reflect.TypeFor[counters]()})
}

// The help and docs/MODEL.md have the same lists.
func TestOptionsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/MODEL.md")
	require.NoError(t, err)
	help := command().Long
	for _, list := range []string{wire.Usage, sim.Usage} {
		require.Contains(t, string(doc), "```text\n"+list+"```\n")
		require.Contains(t, help, indent(list))
	}
}

func TestEachSocketTakesAWire(t *testing.T) {
	configs, err := assign([]string{"a", "b", "c"}, []string{"gen,size=60", "mac=02:00:00:00:00:08,clock=25,pair"})
	require.NoError(t, err)
	require.Len(t, configs, 3)
	require.Nil(t, configs[0].end)
	require.Equal(t, "gen", configs[0].options[0].String())
	require.NotNil(t, configs[1].end)
	require.NotNil(t, configs[2].end)
	require.Equal(t, "mac=02:00:00:00:00:08", configs[1].options[0].String())
	require.Equal(t, "mac=02:00:00:00:00:09", configs[2].options[0].String())
	require.Equal(t, "clock=25", configs[1].options[1].String())
	require.Equal(t, "clock=-25", configs[2].options[1].String())

	for _, bad := range []struct {
		sockets, wires []string
		says           string
	}{
		{nil, []string{"gen"}, "no socket"},
		{[]string{"a"}, nil, "no wire"},
		{[]string{"a"}, []string{"pair"}, "too few"},
		{[]string{"a"}, []string{"gen", "gen"}, "too few"},
		{[]string{"a", "b"}, []string{"gen"}, "2 sockets and wires for 1"},
		{[]string{"a", "b"}, []string{`pair,mac="`}, "double quote"},
		{[]string{"a", "b"}, []string{"pair=line"}, "takes no value"},
	} {
		_, err := assign(bad.sockets, bad.wires)
		require.ErrorContains(t, err, bad.says)
	}
}

func TestPairTakesOptionsOfThePortsOnly(t *testing.T) {
	for _, bad := range []struct {
		sockets []string
		wire    string
		says    string
	}{
		{[]string{"a", "b"}, "pair,size=60", "pair takes only"},
		{[]string{"a", "b"}, "pair,fault=no", "want flap"},
		{[]string{"a"}, "gen,fault=no", "want flap"},
		{[]string{"a"}, "nonsense", "unknown key"},
	} {
		configs, err := assign(bad.sockets, []string{bad.wire})
		require.NoError(t, err)
		_, err = open(configs)
		require.ErrorContains(t, err, bad.says)
	}
}

// Two ports of one process are two devices with a cable between them: each has the
// carrier of the other.
func TestPortsAreServedSideBySide(t *testing.T) {
	dir := t.TempDir()
	sockets := []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}
	configs, err := assign(sockets, []string{"pair,mac=02:00:00:00:00:08"})
	require.NoError(t, err)
	ports, err := open(configs)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 2)
	for _, p := range ports {
		require.NoError(t, p.listen())
		go func() { served <- p.serve(ctx, false) }()
	}
	var bars []pci.Region
	for i, s := range sockets {
		dev, err := pci.Open("vfio-user:" + s)
		require.NoError(t, err)
		defer dev.Close()
		bar, err := dev.BAR(0)
		require.NoError(t, err)
		require.EqualValues(t, 0x08+i, bar.Load32(0xa204)>>8&0xff, "RAH")
		bars = append(bars, bar)
	}
	const links, esdp = 0x42a4, 0x20
	up := func(i int) func() bool { return func() bool { return bars[i].Load32(links)&(1<<30) != 0 } }
	require.Eventually(t, up(0), 30*time.Second, time.Millisecond)
	require.Eventually(t, up(1), 30*time.Second, time.Millisecond)
	bars[0].Store32(esdp, 1<<3|1<<11) // laser off
	require.Eventually(t, func() bool { return !up(1)() }, 30*time.Second, time.Millisecond)
	bars[0].Store32(esdp, 1<<11)
	require.Eventually(t, up(1), 30*time.Second, time.Millisecond)

	cancel()
	for range ports {
		require.NoError(t, <-served)
	}
	for _, p := range ports {
		require.NoError(t, p.nic.Stats().Balanced())
		require.NoError(t, p.nic.Close())
	}
}

func TestVirtualFunctionsHaveSocketsOfTheirOwn(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "a")
	configs, err := assign([]string{socket}, []string{"gen,vfs=2"})
	require.NoError(t, err)
	ports, err := open(configs)
	require.NoError(t, err)
	p := ports[0]
	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, p.listen())
	served := make(chan error, 1)
	go func() { served <- p.serve(ctx, false) }()
	for _, s := range []string{socket + ".vf0", socket + ".vf1"} {
		dev, err := pci.Open("vfio-user:" + s)
		require.NoError(t, err)
		require.Equal(t, pci.ID{Vendor: 0x8086, Device: 0x10ed, Class: 0x020000, Revision: 1, SubVendor: 0x8086, SubDevice: 3}, dev.ID())
		require.NoError(t, dev.Close())
	}
	cancel()
	require.NoError(t, <-served)
	p.unlisten()
	require.NoError(t, p.nic.Close())
	_, err = open([]portConfig{{socket: socket, options: []wire.Option{{Key: "vfs", Value: "64"}}}})
	require.ErrorContains(t, err, "want 1 to 63 virtual functions")
}
