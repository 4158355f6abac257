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

// chroot is the directory tree of a Debian that has Suricata 8.
var chroot = os.Getenv("IXCAP_CHROOT")

func suricata(t *testing.T) *program {
	t.Helper()
	if chroot == "" {
		t.Skip("IXCAP_CHROOT names no tree with Suricata 8: sudo debootstrap --variant=minbase forky DIR MIRROR sid, " +
			"then apt-get install suricata in it, and make pcaptest IXCAP_CHROOT=DIR")
	}
	_, err := os.Stat(filepath.Join(chroot, "usr/bin/suricata"))
	require.NoError(t, err)
	return &program{name: "/usr/bin/suricata", pkg: "suricata", root: chroot, args: suricataArgs, read: readSuricata, stop: signal(unix.SIGINT)}
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

// TestSuricata lets Suricata capture from the software 82599, in another Debian.
func TestSuricata(t *testing.T) {
	p := suricata(t)
	n := 40
	if wholeMatrix {
		n = 400
	}
	packets := stamped(mix(t, n))
	lib := front(t, p.temp(t))
	for _, s := range sources {
		t.Run(s.name, func(t *testing.T) { checkLive(t, p, s, lib, packets) })
		t.Run(s.name+"/group", func(t *testing.T) { checkGroup(t, p, s, lib, packets) })
	}
	t.Run("merged", func(t *testing.T) { checkMerged(t, *p, input{"mix", packets}) })
}
