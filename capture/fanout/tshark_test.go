package fanout

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"
)

// innermost is the flow that tshark finds furthest inside a frame, its ends in order, so
// that both directions are one. It is empty without TCP or UDP.
type innermost [2]string

// tsharkFlows are the innermost flows of frames as tshark dissects them.
func tsharkFlows(t *testing.T, frames [][]byte) (flows []innermost) {
	path, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("no tshark, whose dissection is what flows are compared with: make tools installs it")
	}
	file := filepath.Join(t.TempDir(), "frames.pcap")
	f, err := os.Create(file)
	require.NoError(t, err)
	w := pcapgo.NewWriter(f)
	require.NoError(t, w.WriteFileHeader(65535, layers.LinkTypeEthernet))
	for _, frame := range frames {
		require.NoError(t, w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(1, 0), CaptureLength: len(frame), Length: len(frame)}, frame))
	}
	require.NoError(t, f.Close())
	fields := []string{"frame.protocols", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.srcport", "tcp.dstport", "udp.srcport", "udp.dstport"}
	args := []string{"-n", "-r", file, "-T", "fields", "-E", "occurrence=l", "-o", "ip.defragment:FALSE"}
	for _, field := range fields {
		args = append(args, "-e", field)
	}
	out, err := exec.Command(path, args...).Output()
	require.NoError(t, err)
	for line := range strings.Lines(string(out)) {
		row := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		require.Len(t, row, len(fields))
		protocols := strings.Split(row[0], ":")
		at := len(protocols) - 1
		for at >= 0 && protocols[at] != "ip" && protocols[at] != "ipv6" {
			at--
		}
		flow := innermost{}
		if at >= 0 {
			src, dst := row[1], row[2]
			if protocols[at] == "ipv6" {
				src, dst = row[3], row[4]
			}
			switch behind := protocols[at+1:]; {
			case slices.Contains(behind, "tcp"):
				flow = innermost{src + " " + row[5], dst + " " + row[6]}
			case slices.Contains(behind, "udp"):
				flow = innermost{src + " " + row[7], dst + " " + row[8]}
			}
		}
		slices.Sort(flow[:])
		flows = append(flows, flow)
	}
	require.Len(t, flows, len(frames))
	return flows
}

// captured are the first frames of testdata's capture and of those beside the checkout.
func captured(t *testing.T, most int) (frames [][]byte) {
	more, err := filepath.Glob("../../../shared/pcaps/*.pcap")
	require.NoError(t, err)
	if len(more) == 0 {
		t.Log("no captures in ../shared/pcaps, beside the checkout: only testdata/hosts.pcap is compared; put pcap files there for more")
	}
	for _, name := range append(more, "../../testdata/hosts.pcap") {
		f, err := os.Open(name)
		require.NoError(t, err)
		defer f.Close()
		r, err := pcapgo.NewReader(f)
		require.NoError(t, err, name)
		for range most {
			data, _, err := r.ReadPacketData()
			if err != nil {
				break
			}
			frames = append(frames, data)
		}
	}
	return frames
}

// The frames of a flow that tshark finds inside have one hash, and flows have different
// ones.
func TestFlowsAreThoseThatTsharkFinds(t *testing.T) {
	r := rand.New(rand.NewPCG(40, 0))
	frames := captured(t, 500)
	for range 1000 {
		s := randomStack(t, r, 4)
		frames = append(frames, s.there, s.back)
	}
	hashes, of, compared := map[innermost]uint32{}, map[uint32]innermost{}, 0
	for i, flow := range tsharkFlows(t, frames) {
		if flow == (innermost{}) {
			continue
		}
		compared++
		hash := hashOf(frames[i], AllTunnels)
		if known, ok := hashes[flow]; ok {
			require.Equal(t, known, hash, "%v %x", flow, frames[i])
		}
		if known, ok := of[hash]; ok {
			require.Equal(t, known, flow, "%x", frames[i])
		}
		hashes[flow], of[hash] = hash, flow
	}
	require.Greater(t, len(hashes), 1000)
	require.Greater(t, compared, len(frames)*9/10)
}
