package series

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capfile"
	"github.com/ixcap/ixcap/capture/stream"
)

// tshark's first value of a field is that of the outermost header.
var tsharkFields = []string{"frame.time_epoch", "frame.len", "eth.type", "vlan.etype", "ip.proto", "ipv6.nxt", "ipv6.hopopts.nxt", "ipv6.routing.nxt", "ipv6.fraghdr.nxt", "ipv6.dstopts.nxt"}

// tsharkCounts returns the counts of each second by tshark's fields; keys are the names of
// series.
func tsharkCounts(t *testing.T, tool, file string) map[int64]map[string]Count {
	args := []string{"-n", "-r", file, "-T", "fields", "-E", "occurrence=a", "-E", "separator=;"}
	for _, f := range tsharkFields {
		args = append(args, "-e", f)
	}
	out, err := exec.Command(tool, args...).Output()
	require.NoError(t, err)
	all := map[int64]map[string]Count{}
	for line := range strings.Lines(string(out)) {
		v := strings.Split(strings.TrimSpace(line), ";")
		require.Len(t, v, len(tsharkFields), line)
		seconds, _, _ := strings.Cut(v[0], ".")
		at, err := strconv.ParseInt(seconds, 10, 64)
		require.NoError(t, err)
		size, err := strconv.ParseUint(v[1], 10, 64)
		require.NoError(t, err)
		if all[at] == nil {
			all[at] = map[string]Count{}
		}
		for _, name := range tsharkSeries(v) {
			n := all[at][name]
			n.add(Count{1, size})
			all[at][name] = n
		}
	}
	return all
}

func tsharkSeries(v []string) []string {
	first := func(s string) string { s, _, _ = strings.Cut(s, ","); return s }
	etype := first(v[2])
	if tags := strings.Split(v[3], ","); etype == "0x8100" && v[3] != "" {
		etype = tags[len(tags)-1]
	}
	transports := map[string]string{"6": "tcp", "17": "udp", "132": "sctp"}
	var proto string
	switch etype {
	case "0x0800":
		transports["1"] = "icmp"
		proto = first(v[4])
	case "0x86dd":
		transports["58"] = "icmp"
		proto = first(v[5])
		extensions := map[string]int{"0": 6, "43": 7, "44": 8, "60": 9}
		for i := extensions[proto]; i > 0 && v[i] != ""; i = extensions[proto] {
			proto, v[i], _ = strings.Cut(v[i], ",")
		}
	default:
		return []string{"all", "non_ip"}
	}
	name := map[string]string{"0x0800": "ipv4", "0x86dd": "ipv6"}[etype]
	transport := transports[proto]
	if transport == "" {
		transport = "other_ip"
	}
	return []string{"all", name, transport}
}

// Every second of real captures has the counts that tshark finds.
func TestSecondsAreThoseOfTshark(t *testing.T) {
	tool, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("no tshark: apt-get install tshark")
	}
	files := []string{"../../testdata/hosts.pcap"}
	more, err := filepath.Glob("../../../shared/pcaps/*.pcap")
	require.NoError(t, err)
	if len(more) == 0 {
		t.Log("no captures in ../shared/pcaps, beside the checkout: only testdata/hosts.pcap is counted; put pcap files there for more")
	}
	for _, file := range append(files, more...) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want := tsharkCounts(t, tool, file)
			r, got := collect(t, Config{ByStamps: true})
			addFile(t, r.NewCounter(Sources{}), file)
			r.Close(time.Time{})
			var late uint64
			found := map[int64]map[string]Count{}
			for _, p := range *got {
				late += p.Late.Packets
				for i, name := range r.Names() {
					if p.Series[i].Packets == 0 {
						continue
					}
					if found[p.Time] == nil {
						found[p.Time] = map[string]Count{}
					}
					found[p.Time][name] = p.Series[i].Count
				}
			}
			require.Zero(t, late)
			require.Len(t, found, len(want))
			for at := range want {
				require.Equal(t, want[at], found[at], "second %d", at)
			}
		})
	}
}

// addFile counts the packets of a capture.
func addFile(t *testing.T, c *Counter, name string) {
	f, err := os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	r, err := capfile.NewReader(f, capfile.Options{})
	require.NoError(t, err)
	defer r.Close()
	for {
		p, err := r.Next()
		if err == io.EOF {
			return
		}
		require.NoError(t, err)
		c.Add([]stream.Packet{packet(p.Nano, p.Data, int(p.Len))})
	}
}
