package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/fanout"
)

// settings returns the program of testdata/settings.c, linked with the library's objects.
func (b built) settings(t testing.TB) string {
	t.Helper()
	exe := filepath.Join(b.dir, "settings")
	builds.Lock()
	defer builds.Unlock()
	if _, err := os.Stat(exe); err == nil {
		return exe
	}
	args := []string{"-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-o", exe, "testdata/settings.c"}
	for _, name := range []string{"config.o", "fanout.o", "channels.o"} {
		args = append(args, filepath.Join(b.dir, name))
	}
	if filepath.Base(b.dir) == "sanitized" {
		args = append(args, "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
	}
	out, err := exec.Command("gcc", args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return exe
}

// settings returns the sanitized program.
func settings(t testing.TB) string {
	t.Helper()
	return sanitized(t).settings(t)
}

// host is a root folder with /etc and a home, and the environment of a program.
type host struct {
	etc, home string // texts of /etc/pcap.conf and ~/.pcap.conf; "": no file
	env       []string
}

// root writes the host's files and returns the folder.
func (h host) root(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"etc/pcap.conf": h.etc, "home/.pcap.conf": h.home} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if text != "" {
			require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		}
	}
	return dir
}

// run runs the settings program; $ROOT in its output stands for the host's root folder.
func (h host) run(t testing.TB, args ...string) string {
	t.Helper()
	root := h.root(t)
	cmd := exec.Command(settings(t), append([]string{root}, args...)...)
	cmd.Env = append([]string{"HOME=" + filepath.Join(root, "home")}, h.env...)
	for i := range cmd.Env {
		cmd.Env[i] = strings.ReplaceAll(cmd.Env[i], "$ROOT", root)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		require.Equal(t, 1, exit.ExitCode(), stderr.String())
	}
	require.Empty(t, stderr.String())
	return strings.ReplaceAll(string(out), root, "$ROOT")
}

// expect compares lines; a test writes them with spaces in front.
func expect(t testing.TB, want, got string) {
	t.Helper()
	var lines []string
	for line := range strings.SplitSeq(strings.TrimSpace(want), "\n") {
		lines = append(lines, strings.TrimSpace(line))
	}
	require.Equal(t, strings.Join(lines, "\n")+"\n", got)
}

func TestNothingConfigured(t *testing.T) {
	expect(t, `
		driver -
		device eth0 alias -1 group -1 channels
		caplen 0
		policy lossy 0`, host{}.run(t, "eth0"))
	expect(t, `
		driver ixcap
		device eth0 alias -1 group -1 channels
		caplen 0
		policy lossy 0`, host{}.run(t, "ixcap:eth0"))
}

// The examples are those of the paper, sections VI and VII.
func TestThePapersExamples(t *testing.T) {
	two := host{etc: "group_eth0 = 2\ngroup_eth3 = 3\nfanout@2 = hash\nfanout@3 = rnd\n"}
	expect(t, `
		driver ixcap
		device eth0 alias -1 group 2 channels
		group=2
		mode=hash
		device eth3 alias -1 group 3 channels
		group=3
		mode=rnd
		caplen 0
		policy lossy 0`, two.run(t, "ixcap:eth0^eth3"))

	two.env = []string{"PCAP_FANOUT=rnd", "PCAP_GROUP=3"}
	expect(t, `
		driver -
		device eth0 alias -1 group 3 channels
		group=3
		mode=rnd
		caplen 0
		policy lossy 0`, two.run(t, "eth0"))

	ring := host{env: []string{"PCAP_FANOUT=round_robin", "PCAP_GROUP=42"}}
	expect(t, `
		driver ixcap
		device eth3 alias -1 group 42 channels
		group=42
		mode=lb
		caplen 0
		policy lossy 0
		warning driver pfring is read as ixcap; mode round_robin of PF_RING is read as lb`, ring.run(t, "pfring:eth3"))

	pfq := host{etc: `
# Pcap configuration file (PFQ flavor)
def_group = 11
caplen = 64
rx_slots = 131072
> main = do
>     tcp
>     steer_flow
`}
	expect(t, `
		driver ixcap
		device eth3 alias -1 group 11 channels
		group=11
		mode=hash
		caplen 64
		policy lossy 0
		warning driver pfq is read as ixcap; $ROOT/etc/pcap.conf:5: rx_slots is a setting of PFQ and left out; PFQ function tcp is left out: give the program a filter`, pfq.run(t, "pfq:eth3"))

	expect(t, `
		driver ixcap
		device eth0 alias -1 group 11 channels
		group=11
		device eth1 alias -1 group 42 channels
		group=42
		caplen 0
		policy lossy 0
		warning driver pfq is read as ixcap`,
		host{env: []string{"PCAP_DEF_GROUP=42", "PCAP_GROUP_eth0=11"}}.run(t, "pfq:eth0^eth1"))

	expect(t, `
		driver ixcap
		device eth0 alias -1 group 11 channels
		group=11
		device eth0 alias 1 group 23 channels
		group=23
		device eth0 alias 2 group 11 channels
		group=11
		caplen 0
		policy lossy 0`,
		host{etc: "group_eth0 = 11\ngroup_eth0:1 = 23\n"}.run(t, "ixcap:eth0^eth0:1^eth0:2"))

	expect(t, `
		driver -
		device eth0 alias -1 group -1 channels combined 2
		irq 0 0
		irq 1 1
		caplen 0
		policy lossy 0`,
		host{etc: "combined_channels@eth0 = 2\nirq@eth0.0 = 0\nirq@eth0.1 = 1\n"}.run(t, "eth0"))
}

// Environment over the user's file over /etc/pcap.conf, and PCAP_CONFIG instead of both.
func TestPrecedence(t *testing.T) {
	h := host{
		etc:  "def_group = 1\ncaplen = 100\nfanout = lb\nweight = 2\npolicy = lossless\n",
		home: "def_group = 2\nfanout = rnd\npolicy = lossless, 9\n",
	}
	value := func(env ...string) string {
		return host{etc: h.etc, home: h.home, env: env}.run(t, "ixcap:eth0.5")
	}
	expect(t, `
		driver ixcap
		device eth0.5 alias -1 group 2 channels
		group=2
		mode=rnd
		weight=2
		caplen 100
		policy lossless 9`, value())
	expect(t, `
		driver ixcap
		device eth0.5 alias -1 group 3 channels combined 4
		irq 0 1
		irq 255 0-3,5
		group=3
		mode=cpu
		member=left
		weight=7
		tunnels=gre
		departed=count
		caplen 80 forced
		policy lossy 0`, value("PCAP_GROUP=3", "PCAP_FANOUT=cpu", "PCAP_CAPLEN=80", "PCAP_POLICY=lossy", "PCAP_WEIGHT=7", "PCAP_TUNNELS=gre",
		"PCAP_DEPARTED=count", "PCAP_MEMBER=left", "PCAP_CHANNEL_eth0_5=4", "PCAP_IRQ_eth0_5_0=1", "PCAP_IRQ_eth0.5_255=0-3,5"))

	named := filepath.Join(t.TempDir(), "named.conf")
	require.NoError(t, os.WriteFile(named, []byte("caplen = 77"), 0o644))
	expect(t, `
		driver ixcap
		device eth0.5 alias -1 group -1 channels
		caplen 77
		policy lossy 0`, value("PCAP_CONFIG="+named))

	for _, c := range []struct{ env, group string }{
		{"PCAP_GROUP_eth0.5=9 PCAP_GROUP=8 PCAP_DEF_GROUP=7", "9"},
		{"PCAP_GROUP_eth0_5=9 PCAP_GROUP=8 PCAP_DEF_GROUP=7", "9"},
		{"PCAP_GROUP=8 PCAP_DEF_GROUP=7", "8"},
		{"PCAP_DEF_GROUP=7", "7"},
		{"PCAP_GROUP_eth1=9 PCAP_GROUP=", "2"},
		{"PCAP_DRIVER=ixcap", "2"},
	} {
		require.Contains(t, value(strings.Fields(c.env)...), " group "+c.group+" ", c.env)
	}
}

// A device's and a group's own values count more than the general ones, wherever they
// stand; of two equal lines the later counts.
func TestSpecificOverGeneral(t *testing.T) {
	h := host{
		etc:  "fanout@7 = cpu\ncaplen@7 = 70\ngroup_eth0 = 7\ngroup_eth0:1 = 8\nirq@eth0.01 = 3\nirq@eth0.1 = 4\n",
		home: "def_group = 5\nfanout = rnd\ncaplen = 50\nfanout = lb\n",
	}
	out := h.run(t, "ixcap:eth0^eth0:1^eth0:2^eth1")
	expect(t, `
		driver ixcap
		device eth0 alias -1 group 7 channels
		irq 1 4
		group=7
		mode=cpu
		device eth0 alias 1 group 8 channels
		irq 1 4
		group=8
		mode=lb
		device eth0 alias 2 group 7 channels
		irq 1 4
		group=7
		mode=cpu
		device eth1 alias -1 group 5 channels
		group=5
		mode=lb
		caplen 70
		policy lossy 0`, out)
	require.Contains(t, h.run(t, "ixcap:eth1"), "caplen 50\n")
}

func TestGrammar(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"  def_group=3  # comment", " group 3 "},
		{"group = 3", " group 3 "},
		{"def_group = 3\r\nfanout = hash\r\n", "mode=hash\n"},
		{"def_group = 3\nfanout @ 3 = LB", "mode=lb\n"},
		{"def_group = 3\nfanout = filter, port 53 and not (udp[4:2] = 0)", "filter=port 53 and not (udp[4:2] = 0)\n"},
		{"def_group = 3\nfanout = filter, weight = 3, port 53, 80", "weight=3\nfilter=port 53, 80\n"},
		{"def_group = 3\nfanout = filter, ether[0] & 1 = 1 # multicast", "filter=ether[0] & 1 = 1\n"},
		{"def_group = 3\nfanout = hash, weight=255, tunnels=gre+vxlan, departed=count, member=a b", "mode=hash\nmember=a b\nweight=255\ntunnels=gre,vxlan\ndeparted=count\n"},
		{"def_group = 3\ntunnels = vlan, qinq, mpls, gre, vxlan, gtpu, ipip", "tunnels=vlan,qinq,mpls,gre,vxlan,gtpu,ipip\n"},
		{"def_group = 3\nfanout = inner_flow", "mode=hash\ntunnels=gre,vxlan,gtpu\n"},
		{"def_group = 3\nfanout = hash+defrag", "mode=hash\n"},
		{"def_group = 65535\nfanout@65535 = consistent", "group=65535\nmode=consistent\n"},
		{"rx_channels@eth0 = 4\ntx_channels@eth0 = 2\nother_channels@eth0 = 0", "channels rx 4 tx 2 other 0\n"},
		{"irq@eth0.7 = 0, 2-3 ,1023", "irq 7 0,2-3,1023\n"},
		{"policy = lossless,60", "policy lossless 60\n"},
		{"policy = lossy", "policy lossy 0\n"},
		{"copy = 1", "copy 1\n"},
		{"def_group = 3\ncopy = 1\ncopy@3 = 0", "copy 0\n"},
		{"pfq_rx_slots = 4\ncaplen = 5", "caplen 5\n"},
		{"def_group = 3\n>main = steer_rrobin", "mode=lb\n"},
		{"def_group = 3\nfanout = main = steer_flow", "mode=hash\n"},
		{"fanout = hash", "warning fanout without effect for eth0: no group is given (def_group, PCAP_GROUP)\n"},
		{"caplen = 9", "caplen 9\n"},
		{strings.Repeat("#\n", 30000) + "caplen = 9", "caplen 9\n"},
	} {
		require.Contains(t, host{etc: c.text}.run(t, "ixcap:eth0"), c.want, "%.100q", c.text)
	}
}

// A wrong line is named with its file, its number and what is possible.
func TestWrongLines(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"\n\nfoo = 1", `:3: key "foo" is unknown. Possible: def_group, group_DEV, fanout, caplen, policy, `},
		{"caplen", `:1: "caplen" has no =. Lines are KEY[@GROUP] = VALUE[, VALUE].`},
		{"caplen =", `:1: caplen has no value. Write KEY = VALUE.`},
		{"= 3", `:1: key "" is unknown. Possible: `},
		{"caplen = 0", `:1: caplen = 0: no number from 1 to 262144.`},
		{"caplen = 12x", `:1: caplen = 12x: no number from 1 to 262144.`},
		{"caplen = 99999999999999999999", `no number from 1 to 262144.`},
		{"def_group = 65536", `:1: def_group = 65536: no number from 0 to 65535.`},
		{"def_group = -1", `:1: def_group = -1: no number`},
		{"def_group@3 = 1", `:1: def_group@3: this key has no @. Write def_group = VALUE.`},
		{"group_eth0 = x", `:1: group_eth0 = x: no number from 0 to 65535.`},
		{"group_eth0@2 = 1", `:1: group_eth0 = 1: `},
		{"fanout@x = hash", `:1: fanout@x: no group from 0 to 65535. Write fanout@2 = VALUE.`},
		{"fanout = hsah", `:1: mode "hsah" is unknown. Possible: hash, lb, rnd, cpu, rollover, qm, consistent, filter, buddy.`},
		{"fanout = hash weight=2", `:1: "weight=2" follows the mode. A comma separates options: hash, weight=2`},
		{"fanout = hash, w=2", `:1: option "w" is unknown. Possible: weight, tunnels, threshold, departed, member.`},
		{"fanout = hash, tunnels=ipsec", `:1: tunnel "ipsec" is unknown. Possible: vlan, mpls, gre, vxlan, gtpu, ipip, or all, or none.`},
		{"fanout = hash, weight=256", `:1: weight "256" is no number from 1 to 255.`},
		{"fanout = hash+fast", `:1: flag "+fast" is unknown. Possible: +defrag, +rollover.`},
		{"fanout = filter", `:1: mode filter needs an expression: filter, udp port 53`},
		{"weight = 0", `:1: weight "0" is no number from 1 to 255.`},
		{"departed = drop", `:1: departed "drop" is unknown. Possible: redistribute, count.`},
		{"policy = lossless, 0", `:1: policy "lossless, 0" is unknown. Possible: lossy; lossless; lossless, SECONDS`},
		{"combined_channels = 3", `:1: combined_channels: of which device? Write combined_channels@eth0 = VALUE.`},
		{"combined_channels@eth0 = 0", `:1: combined_channels = 0: no number from 1 to 65535.`},
		{"irq@eth0 = 0", `:1: irq: of which device and channel (0 to 255)? Write irq@eth0.0 = CPUS.`},
		{"irq@eth0.256 = 0", `:1: irq: of which device and channel (0 to 255)?`},
		{"irq@eth0.0 = 3-1", `:1: irq = 3-1: no list of CPUs such as 0, 0-3 or 0,2.`},
		{"irq@eth0.0 = 1024", `:1: irq = 1024: no list of CPUs`},
		{"\n> main = steer_ip", `:2: PFQ function steer_ip has no counterpart. Possible: steer_flow, steer_rrobin, or fanout = MODE (hash, `},
		{"> main = tcp", `:1: the PFQ program has no function that steers. Possible: steer_flow, steer_rrobin, or fanout = MODE`},
		{"> hello", `:1: mode "hello" is unknown. Possible: hash,`},
		{"caplen = 3\x01", `:1: a control character, byte 1.`},
	} {
		out := host{etc: c.text}.run(t, "ixcap:eth0")
		require.True(t, strings.HasPrefix(out, "error $ROOT/etc/pcap.conf:"), "%q: %s", c.text, out)
		require.Contains(t, out, c.want, "%q", c.text)
		require.Equal(t, out, host{etc: c.text}.run(t, "eth0"), "the system's devices are configured by the same file")
	}
	require.Contains(t, host{home: "x = 1"}.run(t, "eth0"), `error $ROOT/home/.pcap.conf:1: key "x" is unknown.`)
	require.Contains(t, host{etc: strings.Repeat("caplen = 5\n", 1025)}.run(t, "eth0"), "pcap.conf:1025: more than 1024 settings.")
	require.Contains(t, host{etc: strings.Repeat("#", 65537)}.run(t, "eth0"), "error read $ROOT/etc/pcap.conf: more than 65536 bytes.")
	require.Contains(t, host{etc: "caplen = 5\x00"}.run(t, "eth0"), "error read $ROOT/etc/pcap.conf: a NUL byte, this is no text.")
}

func TestWrongEnvironment(t *testing.T) {
	for _, c := range []struct{ env, want string }{
		{"PCAP_CONFIG=/nowhere/x.conf", "read /nowhere/x.conf: No such file or directory. PCAP_CONFIG names the file."},
		{"PCAP_CONFIG=/", "read /: Is a directory."},
		{"PCAP_DRIVER=netmap", "environment PCAP_DRIVER=netmap: unknown. Possible: ixcap; pfq and pfring are read as ixcap."},
		{"PCAP_GROUP=x", "environment PCAP_GROUP=x: no number from 0 to 65535."},
		{"PCAP_GROUP_eth0=70000", "environment PCAP_GROUP_eth0=70000: no number from 0 to 65535."},
		{"PCAP_FANOUT=fast", `environment PCAP_FANOUT: mode "fast" is unknown. Possible: hash,`},
		{"PCAP_CAPLEN=no", "environment PCAP_CAPLEN=no: no number from 1 to 262144."},
		{"PCAP_CHANNEL_eth0=0", "environment PCAP_CHANNEL_eth0=0: no number from 1 to 65535."},
		{"PCAP_IRQ_eth0_3=all", "environment PCAP_IRQ_eth0_3=all: no list of CPUs such as 0, 0-3 or 0,2."},
		{"PCAP_COPY=yes", "environment PCAP_COPY=yes: no number from 0 to 1."},
		{"PCAP_WEIGHT=300", `environment PCAP_WEIGHT: weight "300" is no number from 1 to 255.`},
		{"PCAP_POLICY=x", `environment PCAP_POLICY: policy "x" is unknown. Possible: lossy; lossless;`},
	} {
		require.Contains(t, host{env: []string{c.env}}.run(t, "eth0"), "error "+c.want, c.env)
	}
}

func TestDeviceNames(t *testing.T) {
	long := strings.Repeat("d", 256)
	for _, c := range []struct{ device, env, want string }{
		{"nflog:5", "", "driver -\ndevice nflog alias 5 "},
		{"eth0^eth1", "", "driver -\ndevice eth0^eth1 alias -1 "},
		{"eth0^eth1", "PCAP_DRIVER=ixcap", "driver ixcap\ndevice eth0 alias -1 group -1 channels\ndevice eth1 "},
		{"ixcap:/run/x:3", "", "driver ixcap\ndevice /run/x alias 3 "},
		{"ixcap:", "", "driver ixcap\ndevice  alias -1 "},
		{"ixcap:eth0^", "", "error device: an empty name beside ^. Write ixcap:eth0^eth1.\n"},
		{"ixcap:^eth0", "", "error device: an empty name beside ^."},
		{"ixcap:" + long, "", "error device " + long[:40] + "...: the name has more than 255 bytes.\n"},
		{"ixcap:a" + strings.Repeat("^a", 16), "", "error device: more than 16 names.\n"},
		{long, "", "driver -\ncaplen 0\n"},
		{"", "", "driver -\ndevice  alias -1 "},
	} {
		h := host{}
		if c.env != "" {
			h.env = []string{c.env}
		}
		out := h.run(t, c.device)
		require.True(t, strings.HasPrefix(out, c.want), "%s %s: %s", c.env, c.device, out)
	}
}

// What the C side asks for is what the capture's parser reads, for every mode.
func TestRequestsAreReadByTheCapture(t *testing.T) {
	for _, mode := range []fanout.Mode{fanout.Hash, fanout.LB, fanout.RND, fanout.CPU, fanout.Rollover, fanout.QM, fanout.Consistent, fanout.Filter, fanout.Buddy} {
		text := mode.String() + ", weight=9, member=a, tunnels=all, departed=count"
		if mode == fanout.Filter {
			text += ", tcp port 80"
		}
		if mode == fanout.Buddy {
			text += ", threshold=20"
		}
		s, err := fanout.ParseSettings(host{}.run(t, "fanout", text, "12"))
		require.NoError(t, err, mode)
		require.Equal(t, mode, s.Mode)
		require.Equal(t, uint16(12), s.Group)
		require.Equal(t, uint8(9), s.Weight)
		require.Equal(t, "a", s.Member)
		require.Equal(t, fanout.AllTunnels, s.Tunnels)
		require.Equal(t, fanout.CountLost, s.Departed)
		require.Equal(t, mode == fanout.Filter, s.Filter != nil)
		require.Equal(t, mode == fanout.Buddy, s.Threshold == 20)
	}
}

// valgrind finds what ASan does not: reads of what was never written.
func TestValgrindFindsNothingInTheParser(t *testing.T) {
	needs(t, "valgrind")
	program := build(t).settings(t)
	h := host{
		etc:  "def_group = 11\ncaplen = 64\nrx_slots = 131072\nfanout@3 = filter, tcp\nirq@eth0.3 = 0-3\ncombined_channels@eth0 = 2\n> main = do\n>  tcp\n>  steer_flow\n",
		home: "policy = lossless, 5\ntunnels = gre\n",
	}
	root := h.root(t)
	for _, args := range [][]string{{root, "ixcap:eth0^eth1:2"}, {root, "apply", "eth0"}, {root, "fanout", "hash+fast", "3"}, {"", "channels", "lo"}} {
		cmd := exec.Command("valgrind", append([]string{"-q", "--leak-check=full", "--show-leak-kinds=all", "--error-exitcode=99", program}, args...)...)
		cmd.Env = append(os.Environ(), "HOME="+filepath.Join(root, "home"), "PCAP_GROUP_eth1=3")
		out, err := cmd.CombinedOutput()
		if err != nil {
			require.Equal(t, 1, cmd.ProcessState.ExitCode(), "%v\n%s", args, out)
		}
	}
}
