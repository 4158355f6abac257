package index_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive/index"
	"github.com/ixcap/ixcap/capture/archive/store"
)

func TestNamesOfTheStorerAreRead(t *testing.T) {
	at := time.Date(2026, 11, 21, 14, 0, 0, 123456789, time.UTC)
	for _, suffix := range []string{".raw", ".raw.part"} {
		name := "/data/" + store.FileName("sim:pcap=/a/b-q01-c.pcap,rate=line", 12, at, 345)
		f, ok := index.ParseName(name + suffix)
		require.True(t, ok)
		require.Equal(t, store.Label("sim:pcap=/a/b-q01-c.pcap"), f.Port)
		require.Equal(t, 12, f.Queue)
		require.Equal(t, 345, f.Seq)
		require.True(t, at.Equal(f.First))
		require.Equal(t, suffix == ".raw.part", f.Part)
		require.Equal(t, name+".idx", f.Sidecar())
	}
	f, ok := index.ParseName("hpcap.raw")
	require.True(t, ok)
	require.Equal(t, index.File{Path: "hpcap.raw", Queue: -1, Seq: -1}, f)
	_, ok = index.ParseName("x.idx")
	require.False(t, ok)
}
