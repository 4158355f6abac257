package e2e

import (
	"cmp"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"
)

// conversation returns what frames of both directions of a flow have in common:
// addresses and ports in order. It is empty for frames that are not IP, and for
// fragments, which the hash of the NIC treats as another flow.
func conversation(data []byte) string {
	p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true})
	if ip, ok := p.NetworkLayer().(*layers.IPv4); ok && (ip.FragOffset != 0 || ip.Flags&layers.IPv4MoreFragments != 0) {
		return ""
	}
	if p.NetworkLayer() == nil || p.TransportLayer() == nil {
		return ""
	}
	var ends [2]string
	flow, ports := p.NetworkLayer().NetworkFlow(), p.TransportLayer().TransportFlow()
	for i, end := range [][2]gopacket.Endpoint{{flow.Src(), ports.Src()}, {flow.Dst(), ports.Dst()}} {
		addr, _ := netip.AddrFromSlice(end[0].Raw())
		ends[i] = fmt.Sprint(addr, " ", end[1])
	}
	if cmp.Compare(ends[0], ends[1]) > 0 {
		ends[0], ends[1] = ends[1], ends[0]
	}
	return fmt.Sprint(p.TransportLayer().LayerType(), " ", ends)
}

// requireSubsequence requires that the frames are some of those sent, in their order.
func requireSubsequence(t *testing.T, sent, frames []string, flow string) {
	t.Helper()
	for i, f := range frames {
		at := slices.Index(sent, f)
		require.NotEqual(t, -1, at, "%s: frame %d of %d is not in its place", flow, i, len(frames))
		sent = sent[at+1:]
	}
}

var queueInName = regexp.MustCompile(`-q(\d+)-`)

// requireSessionsInOneQueue requires that the files of one queue have all frames of a
// conversation, both directions.
func requireSessionsInOneQueue(t *testing.T, dir string) {
	t.Helper()
	queue := map[string]string{}
	for _, name := range rawFiles(t, dir) {
		q := queueInName.FindStringSubmatch(filepath.Base(name))
		require.NotNil(t, q, name)
		for _, f := range readRawFile(t, name) {
			key := conversation(f.data)
			if key == "" {
				continue
			}
			first, seen := queue[key]
			require.True(t, !seen || first == q[1], "%s: on queues %s and %s", key, first, q[1])
			queue[key] = q[1]
		}
	}
	require.NotEmpty(t, queue)
}

// With several queues both directions of a flow come to one queue, so the merge of all
// queues has every flow's frames in the order in which they arrived.
func TestQueryOfSeveralQueuesKeepsTheOrderOfEachFlow(t *testing.T) {
	for _, file := range captures(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			sent := readPcap(t, file)
			dir := t.TempDir()
			r := succeed(t, "hpcapdd", "-i", "sim:pcap="+file+",rate=50kpps", "--queues", "4", "-w", dir, "--buffer", "4MiB", "--json")
			l := ledger(t, r)
			require.NoError(t, l.Balanced())
			// With several queues a full ring drops frames, backpressure or not.
			require.EqualValues(t, len(sent), l.Frames()+l.Lost())
			out := filepath.Join(t.TempDir(), "all.pcap")
			q := succeed(t, "hpcapq", "-r", dir, "-w", out)
			var bound time.Duration
			for i := range l.Queues { // a queue without packets is no part of the answer
				for j := range i {
					if a, b := l.Queues[i], l.Queues[j]; a.Stored > 0 && b.Stored > 0 {
						bound = max(bound, a.Uncertainty+b.Uncertainty)
					}
				}
			}
			require.Contains(t, q.stderr, "order of packets: exact within each of ")
			text := regexp.MustCompile(`queues, within (\S+) between them\n`).FindStringSubmatch(q.stderr)
			require.NotNil(t, text, q.stderr)
			printed, err := time.ParseDuration(text[1])
			require.NoError(t, err)
			require.InDelta(t, bound, printed, float64(2*time.Microsecond), "the index has whole microseconds")
			got := readPcap(t, out)
			require.EqualValues(t, l.Frames(), len(got))

			flows := func(frames []packet) map[string][]string {
				all := map[string][]string{}
				for _, f := range frames {
					if key := conversation(f.data); key != "" {
						all[key] = append(all[key], string(padded(f.data)))
					}
				}
				return all
			}
			want := flows(sent)
			require.NotEmpty(t, want)
			have := flows(got)
			require.NotEmpty(t, have)
			for key, frames := range have {
				requireSubsequence(t, want[key], frames, key)
			}
			requireSessionsInOneQueue(t, dir)
		})
	}
}
