package pcapstore_test

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/pcapstore"
	"github.com/ixcap/ixcap/capture/archive/recorder"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/capture/stream"
	_ "github.com/ixcap/ixcap/sim"
)

const hosts = "../../../testdata/hosts.pcap"

// frames returns the frames of a capture file as they are on the wire.
func frames(t *testing.T, path string) (all [][]byte) {
	t.Helper()
	r, err := pcapfile.Open(path)
	require.NoError(t, err)
	defer r.Close()
	for {
		p, err := r.Next()
		if err != nil {
			return all
		}
		data := bytes.Clone(p.Data)
		if len(data) < 60 { // as a sender's MAC does
			data = append(data, make([]byte, 60-len(data))...)
		}
		all = append(all, data)
	}
}

// The model replays a file. Its frames go through driver, poller and stream to
// files; the ledger balances, and the files have the frames sent.
func TestCaptureToCompressedPcapng(t *testing.T) {
	dns, err := pcapfilter.Compile("udp port 53")
	require.NoError(t, err)
	sent := frames(t, hosts)
	require.Greater(t, len(sent), 1000)
	for name, filter := range map[string]*pcapfilter.Filter{"all": nil, "filtered": dns} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			port, err := nic.Open("sim:pcap="+hosts+",backpressure", nic.Config{Queues: 1})
			require.NoError(t, err)
			e, err := capture.New(port, capture.Config{Buffer: 4 << 20})
			require.NoError(t, err)
			defer func() { require.NoError(t, e.Close()) }()
			d, err := store.OpenDir(dir)
			require.NoError(t, err)
			var st *pcapstore.Storer
			l, err := recorder.Run(t.Context(), e, recorder.Config{
				Dirs: []string{dir}, Queue: capture.AllQueues,
				NewStorer: func(queue int, _ *stream.Stream) (_ recorder.Storer, err error) {
					st, err = pcapstore.New(pcapstore.Config{
						Port: port.Name(), Queue: queue, Level: 1, Size: 1 << 20, Filter: filter, Speed: 10_000_000_000,
						Counters: func() pcapstore.Counters { return pcapstore.Counters{Dropped: e.Counters().Lost} },
					}, d)
					return st, err
				},
			})
			require.NoError(t, err)
			require.NoError(t, l.Balanced())
			require.EqualValues(t, len(sent), l.Frames())
			require.Zero(t, l.Lost())
			require.Len(t, l.Storers, 1)
			p := st.Packets()
			require.NoError(t, p.Balanced())
			require.EqualValues(t, len(sent), p.Read.Packets)
			require.Equal(t, p.Read.Bytes, l.Storers[0].Read)
			require.Equal(t, p.Filtered.Bytes, l.Storers[0].Filtered)

			var want [][]byte
			for _, f := range sent {
				if filter == nil || filter.Match(f, len(f)) {
					want = append(want, f)
				}
			}
			require.EqualValues(t, len(want), p.Written.Packets)
			all := packets(t, dir)
			require.Len(t, all, len(want))
			for i := range want {
				require.True(t, bytes.Equal(want[i], all[i].Data), "packet %d", i)
			}
			for _, name := range names(t, dir) {
				require.True(t, strings.HasSuffix(name, ".pcapng.zst"), name)
				require.Equal(t, len(read(t, name)), others(t, name), name)
			}

			// By time, from the middle.
			middle := all[len(all)/2]
			left := 0
			for _, name := range names(t, dir) {
				r, err := pcapfile.Open(name)
				require.NoError(t, err)
				require.NotEmpty(t, r.Frames())
				require.NoError(t, r.SeekTime(middle.Time()))
				for ; err == nil; left++ {
					var p pcapfile.Packet
					if p, err = r.Next(); err == nil {
						require.False(t, p.Time().Before(middle.Time()))
					}
				}
				left-- // the end
				require.NoError(t, r.Close())
			}
			later := 0
			for _, p := range all {
				if p.Nano >= middle.Nano {
					later++
				}
			}
			require.Equal(t, later, left)
		})
	}
}

// others counts a compressed file's packets with zstd, capinfos and gopacket.
func others(t *testing.T, name string) int {
	t.Helper()
	for _, tool := range []string{"zstd", "capinfos"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is missing; make tools installs it", tool)
		}
	}
	plain := t.TempDir() + "/x.pcapng"
	require.NoError(t, exec.Command("zstd", "-q", "-d", name, "-o", plain).Run())
	out, err := exec.Command("capinfos", "-M", "-c", plain).Output()
	require.NoError(t, err)
	file, err := os.ReadFile(plain)
	require.NoError(t, err)
	var got pcapgo.NgInterfaceStatistics
	r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.NgReaderOptions{StatisticsCallback: func(_ int, s pcapgo.NgInterfaceStatistics) { got = s }})
	require.NoError(t, err)
	n := -1
	for ; err == nil; n++ {
		_, _, err = r.ReadPacketData()
	}
	require.Regexp(t, `Number of packets:\s+`+strconv.Itoa(n)+`\s`, string(out))
	require.WithinDuration(t, time.Now(), got.EndTime, time.Hour)
	return n
}
