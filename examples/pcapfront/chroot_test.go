package pcapfront

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// chrooted are programs that Debian 12 does not have. They run in directory trees of other
// releases.
var chrooted = []program{
	{name: "/usr/bin/suricata", pkg: "suricata", args: suricataArgs, read: readSuricata, stop: signal(unix.SIGINT)},
	{name: "/usr/sbin/snort", pkg: "snort", args: snortArgs, read: readSnort, stop: signal(unix.SIGINT)},
}

// findRoot looks for the program's tree in IXCAP_CHROOT.
func (p *program) findRoot(t *testing.T) {
	t.Helper()
	for _, dir := range filepath.SplitList(os.Getenv("IXCAP_CHROOT")) {
		if _, err := os.Stat(dir + p.name); err == nil {
			p.root = filepath.Clean(dir)
			return
		}
	}
	t.Skipf("IXCAP_CHROOT, a list of directories with colons, has no tree with %[1]s: sudo debootstrap --variant=minbase SUITE DIR MIRROR, "+
		"apt-get install %[2]s in it by chroot, and make pcaptest IXCAP_CHROOT=DIR", p.name, p.pkg)
}

const suricataYAML = `%%YAML 1.1
---
default-log-dir: %[1]s
outputs:
  - eve-log:
      enabled: yes
      filetype: regular
      filename: eve.json
      types: [http, dns, sip, flow]
app-layer:
  protocols:
    http: {enabled: yes}
    dns:
      tcp: {enabled: yes}
      udp: {enabled: yes}
    sip: {enabled: yes}
unix-command: {enabled: no}
pcap:
  - interface: default
`

func suricataArgs(t *testing.T, in *instance) []string {
	dir := in.program.inside(in.dir)
	require.NoError(t, os.WriteFile(in.path("conf"), fmt.Appendf(nil, suricataYAML, dir), 0o644))
	args := []string{"-c", "conf", "-S", "/dev/null", "-k", "none", "--runmode", "single", "-l", dir}
	if in.file != "" {
		return append(args, "-r", in.program.inside(in.file))
	}
	return append(args, "--pcap="+in.device)
}

// readSuricata returns its events, without what numbers the packets and flows of an
// instance and names its input. A flow is written when it is over, by the clock.
func readSuricata(t *testing.T, in *instance) []string {
	text, err := os.ReadFile(in.path("eve.json"))
	require.NoError(t, err)
	var all []string
	for _, l := range lines(string(text)) {
		var event map[string]any
		require.NoError(t, json.Unmarshal([]byte(l), &event), l)
		for _, key := range []string{"flow_id", "pcap_cnt", "in_iface"} {
			delete(event, key)
		}
		if flow, ok := event["flow"].(map[string]any); ok && event["event_type"] == "flow" {
			delete(event, "timestamp")
			delete(flow, "reason") // timeout or shutdown
		}
		b, err := json.Marshal(event)
		require.NoError(t, err)
		all = append(all, string(b))
	}
	return all
}

// snortConf has rules for requests and answers of flows that Snort tracks and reassembles.
const snortConf = `config checksum_mode: none
preprocessor frag3_global: max_frags 65536
preprocessor frag3_engine: policy linux
preprocessor stream5_global: track_tcp yes, track_udp yes, max_tcp 65536, max_udp 65536
preprocessor stream5_tcp: policy linux, ports both all
preprocessor stream5_udp: timeout 180
alert tcp any any -> any 80 (msg:"request"; flow:to_server,established; content:"GET /page"; sid:1000001; rev:1;)
alert tcp any 80 -> any any (msg:"answer"; flow:to_client,established; content:"HTTP/1.1 200"; sid:1000002; rev:1;)
alert udp any any -> any 53 (msg:"query"; content:"example"; sid:1000003; rev:1;)
alert udp any any -> any 5060 (msg:"call"; content:"INVITE sip"; sid:1000004; rev:1;)
alert icmp any any -> any any (msg:"ping"; itype:8; sid:1000005; rev:1;)
`

func snortArgs(t *testing.T, in *instance) []string {
	require.NoError(t, os.WriteFile(in.path("conf"), []byte(snortConf), 0o644))
	return append(in.input("-r", "-i"), "--daq", "pcap", "-q", "-N", "-k", "none", "-c", "conf", "-A", "fast", "-l", ".")
}

// readSnort returns its alerts.
func readSnort(t *testing.T, in *instance) []string {
	text, err := os.ReadFile(in.path("alert"))
	require.NoError(t, err)
	return lines(string(text))
}

// TestProgramsOfOtherReleases lets them capture from a port of each kind, alone and as four
// members of a group.
func TestProgramsOfOtherReleases(t *testing.T) {
	n := 40
	if wholeMatrix {
		n = 400
	}
	packets := stamped(mix(t, n))
	for _, p := range chrooted {
		t.Run(filepath.Base(p.name), func(t *testing.T) {
			p.findRoot(t)
			lib := front(t, p.temp(t))
			for _, s := range sources {
				t.Run(s.name, func(t *testing.T) { checkLive(t, &p, s, lib, packets) })
				t.Run(s.name+"/group", func(t *testing.T) { checkGroup(t, &p, s, lib, packets) })
			}
			t.Run("merged", func(t *testing.T) { checkMerged(t, p, input{"mix", packets}) })
		})
	}
}
