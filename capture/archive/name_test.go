package archive_test

import (
	"sort"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive"
)

func TestLabelOfAPortFitsAFileName(t *testing.T) {
	for port, want := range map[string]string{
		"0000:03:00.0":                     "0000_03_00.0",
		"eth2":                             "eth2",
		"vfio-user:/run/nic.sock":          "vfio-user_nic.sock",
		"sim:pcap=/a/b c/x.pcap,rate=line": "sim_x.pcap",
		"sim:gen,size=60":                  "sim_gen",
		"sim:packet=veth0":                 "sim_packet_veth0",
		"":                                 "port",
		"a/":                               "port",
	} {
		require.Equal(t, want, archive.Label(port), "port %q", port)
	}
	require.Len(t, archive.Label(string(make([]byte, 300))), 48)
}

func TestNamesSortAsTheFilesWereCaptured(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("elsewhere", 3600))
	require.Equal(t, "20260102T020405.000000006Z-eth2-q03-000017", archive.FileName("eth2", 3, at, 17))

	inOrder := []string{
		archive.FileName("eth2", 1, at, 0),
		archive.FileName("eth2", 0, at.Add(time.Nanosecond), 0),
		archive.FileName("eth2", 0, at.Add(time.Nanosecond), 1),
		archive.FileName("eth2", 0, at.Add(time.Second), 2),
		archive.FileName("eth2", 1, at.Add(time.Minute), 1),
		archive.FileName("eth2", 0, at.Add(25*time.Hour), 3),
	}
	require.True(t, sort.StringsAreSorted(inOrder))
}
