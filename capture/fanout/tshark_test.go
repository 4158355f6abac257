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

// innermost is the flow that tshark finds furthest inside a frame.
type innermost struct {
	ends  [2]string // in order, so that both directions are one flow
	proto string
}

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
		require.GreaterOrEqual(t, at, 0, "no packet of IP: %s %x", row[0], frames[len(flows)])
		src, dst := row[1], row[2]
		if protocols[at] == "ipv6" {
			src, dst = row[3], row[4]
		}
		flow := innermost{}
		switch behind := protocols[at+1:]; {
		case slices.Contains(behind, "tcp"):
			flow = innermost{[2]string{src + " " + row[5], dst + " " + row[6]}, "tcp"}
		case slices.Contains(behind, "udp"):
			flow = innermost{[2]string{src + " " + row[7], dst + " " + row[8]}, "udp"}
		default:
			require.Fail(t, "no transport", row[0])
		}
		slices.Sort(flow.ends[:])
		flows = append(flows, flow)
	}
	require.Len(t, flows, len(frames))
	return flows
}

// The frames of a flow that tshark finds inside have one hash, and flows have different
// ones.
func TestFlowsAreThoseThatTsharkFinds(t *testing.T) {
	r := rand.New(rand.NewPCG(40, 0))
	var frames [][]byte
	for range 1500 {
		s := randomStack(t, r, 4)
		frames = append(frames, s.there, s.back)
	}
	hashes, of := map[innermost]uint32{}, map[uint32]innermost{}
	for i, flow := range tsharkFlows(t, frames) {
		hash := hashOf(frames[i], AllTunnels)
		if known, ok := hashes[flow]; ok {
			require.Equal(t, known, hash, "%v %x", flow, frames[i])
		}
		if known, ok := of[hash]; ok {
			require.Equal(t, known, flow, "%x", frames[i])
		}
		hashes[flow], of[hash] = hash, flow
	}
	require.Greater(t, len(hashes), 1400)
}
