package archive_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive"
)

func TestNamesOfTheStorerAreRead(t *testing.T) {
	at := time.Date(2026, 11, 21, 14, 0, 0, 123456789, time.UTC)
	for _, suffix := range []string{".raw", ".raw.part"} {
		name := "/data/" + archive.FileName("sim:pcap=/a/b-q01-c.pcap,rate=line", 12, at, 345)
		f, ok := archive.ParseName(name + suffix)
		require.True(t, ok)
		require.Equal(t, archive.Label("sim:pcap=/a/b-q01-c.pcap"), f.Port)
		require.Equal(t, 12, f.Queue)
		require.Equal(t, 345, f.Seq)
		require.True(t, at.Equal(f.First))
		require.Equal(t, suffix == ".raw.part", f.Part)
		require.Equal(t, name+".idx", f.Sidecar())
	}
	f, ok := archive.ParseName("hpcap.raw")
	require.True(t, ok)
	require.Equal(t, archive.File{Path: "hpcap.raw", Queue: -1, Seq: -1}, f)
	for _, name := range []string{"x.idx", "x", ".pcap.part-123", "x.pcap.cut", "x.txt.gz", "x.raw.gz"} {
		_, ok = archive.ParseName(name)
		require.False(t, ok, name)
	}
	for _, suffix := range []string{".pcap", ".pcapng", ".pcap.zst", ".pcapng.zst", ".pcapng.zst.part"} {
		f, ok := archive.ParseName(archive.FileName("eth2", 3, at, 4) + suffix)
		require.True(t, ok && f.Packets && f.Stored(), suffix)
		require.Equal(t, []any{"eth2", 3, 4, strings.HasSuffix(suffix, ".part")}, []any{f.Port, f.Queue, f.Seq, f.Part})
	}
	for _, name := range []string{"a.pcap", "a.pcap0", "a.pcap12", "a.PCAPNG", "a.cap", "a.pcapng.gz", "a.pcap.lz4", "a.pcap.zst"} {
		f, ok := archive.ParseName("/x/" + name)
		require.True(t, ok && f.Packets && !f.Stored(), name)
		require.Equal(t, archive.File{Path: "/x/" + name, Packets: true, Queue: -1, Seq: -1}, f)
	}
}

func TestTemporaryNamesOfPacketFilesAreKnown(t *testing.T) {
	for name, is := range map[string]bool{
		"a.pcap.part": true, "a.pcapng.part": true, "a.pcap.zst.part": true, "a.pcapng.zst.part": true,
		"a.raw.part": false, "a.pcap": false, "pcap.part": false, "a.zst.part": false,
	} {
		require.Equal(t, is, archive.IsPacketPart(name), name)
	}
}

func TestStoredFilesOfAnyFormatAreParsed(t *testing.T) {
	at := time.Date(2026, 11, 21, 14, 0, 0, 1, time.UTC)
	stem := archive.FileName("eth2", 1, at, 2)
	for _, c := range []struct {
		suffix    string
		raw, part bool
		with      []string
	}{
		{".raw", true, false, []string{".idx", ".raw.cut", ".raw.part.cut"}},
		{".raw.part", true, true, []string{".idx", ".raw.part.cut"}},
		{".pcap", false, false, []string{".pcap.cut", ".pcap.part.cut"}},
		{".pcapng.zst.part", false, true, []string{".pcapng.zst.part.cut"}},
	} {
		n, ok := archive.ParseStored(stem + c.suffix)
		require.True(t, ok, c.suffix)
		require.Equal(t, archive.Name{Stem: stem, Final: stem + strings.TrimSuffix(c.suffix, ".part"), First: at, Raw: c.raw, Part: c.part}, n)
		var with []string
		for _, name := range n.Companions() {
			with = append(with, strings.TrimPrefix(name, stem))
		}
		require.Equal(t, c.with, with)
	}
	for _, name := range []string{"", "x.raw", stem, stem + ".raw.zst", stem + ".idx", stem + ".part", "x" + stem + ".pcap"} {
		_, ok := archive.ParseStored(name)
		require.False(t, ok, name)
	}
}

func TestSidecarNamesAreParsed(t *testing.T) {
	stem := archive.FileName("eth2", 1, time.Unix(1, 0), 2)
	got, ok := archive.ParseSidecar(stem + ".idx")
	require.True(t, ok)
	require.Equal(t, stem, got)
	for _, name := range []string{"x.idx", stem + ".raw", ""} {
		_, ok := archive.ParseSidecar(name)
		require.False(t, ok, name)
	}
	dir := "/data/"
	require.Equal(t, dir+"."+stem+".idx.new", archive.TempIndex(dir+stem+".idx"))
	for name, is := range map[string]bool{
		"." + stem + ".idx.new": true, "." + stem + ".idx.17": true, "." + stem + ".idx.": false, "." + stem + ".idx.swp": false,
		stem + ".idx.new": false, "..idx.7": false, "": false,
	} {
		require.Equal(t, is, archive.IsTempIndex(name), name)
	}
}

func FuzzParseStored(f *testing.F) {
	stem := archive.FileName("eth2", 0, time.Unix(1_700_000_000, 0), 0)
	for _, name := range []string{stem + ".raw", stem + ".pcapng.zst.part", ".raw", "x.raw", "", ".part", ".zst.part"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, base string) {
		archive.IsTempIndex(base)
		n, ok := archive.ParseStored(base)
		if !ok {
			return
		}
		require.True(t, strings.HasPrefix(base, n.Stem) && strings.HasPrefix(base, n.Final))
		require.Equal(t, n.Part, base == n.Final+archive.Part)
		for _, other := range n.Companions() {
			require.NotEqual(t, base, other)
			_, file := archive.ParseStored(other)
			require.False(t, file, "%s would be a file of its own", other)
		}
	})
}
