package pcapfront

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/internal/testtime"
)

// program is a program of Debian that reads packets through libpcap.
type program struct {
	name, pkg string // in PATH; Debian package
	helper    string // also needed: prints what the program has written
	helperPkg string
	args      func(t *testing.T, in *instance) []string
	// read returns what an instance has written, normalised: one line for each packet,
	// message, flow or host.
	read  func(t *testing.T, in *instance) []string
	stdin bool // it reads a capture from standard input only
	// fed: it captures without libpcap. A live instance reads what tcpdump has captured.
	fed bool
	// kernel: the device must have the name of one of the kernel's interfaces.
	kernel bool
	// nano: the program asks libpcap for nanoseconds.
	nano bool
	// stop ends a live instance when the capture has ended and all is read; nil: it ends
	// as it does at the end of a file.
	stop   func(t *testing.T, in *instance, c *exec.Cmd)
	status int // exit status of a live instance
	// root: it runs in this directory tree of another Debian; "": in this one.
	root   string
	stored string // the file with the packets that it stores; "": it stores none
	// sums: hosts occur in several shares. A line is a key, a tab and numbers, and the
	// numbers of equal keys are added up. Else a line is in one share only.
	sums bool
	// onlyMix: why the program's output on other captures depends on more than one flow.
	onlyMix string
}

// inside returns a path of this file system as the program sees it.
func (p *program) inside(path string) string { return strings.TrimPrefix(path, p.root) }

// temp returns a folder that the program sees, too. Its path is short: paths of sockets
// have at most 107 bytes.
func (p *program) temp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(cmp.Or(p.root, "/")+"/tmp", "ixcap-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// instance is one run of a program: it reads a file, or a device.
type instance struct {
	program   *program
	dir       string // empty before the run, and the instance's own
	file      string // "": it reads device
	device    string
	collector *net.UDPConn // softflowd's
	stdout    bytes.Buffer
	stderr    bytes.Buffer
}

// input returns the arguments that name the input.
func (in *instance) input(file, device string) []string {
	if in.file != "" {
		return []string{file, in.program.inside(in.file)}
	}
	return []string{device, in.device}
}

// newInstance makes an instance and its folder.
func newInstance(t *testing.T, p *program, dir string) *instance {
	t.Helper()
	require.NoError(t, os.Mkdir(dir, 0o755))
	return &instance{program: p, dir: dir}
}

// run reads a file to its end and returns what the instance has written.
func (in *instance) run(t *testing.T) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testtime.Deadline)
	defer cancel()
	c := in.command(ctx, t, nil)
	require.NoError(t, c.Run(), "%s: %s%s", c, &in.stdout, &in.stderr)
	return in.program.read(t, in)
}

// path returns the name of a file in the instance's folder, as this test sees it.
func (in *instance) path(name string) string { return filepath.Join(in.dir, name) }

// command returns the instance's command, with the device's environment.
func (in *instance) command(ctx context.Context, t *testing.T, env []string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(ctx, in.program.name, in.program.args(t, in)...)
	if in.program.fed && in.file == "" {
		c = exec.CommandContext(ctx, "sh", "-c", fmt.Sprintf("tcpdump -i %s -w captured.pcap && %s", in.device, strings.Join(c.Args, " ")))
	}
	c.WaitDelay = time.Second // for pipes that its children keep open
	c.Dir, c.Stdout, c.Stderr = in.program.inside(in.dir), &in.stdout, &in.stderr
	c.Env = append(environ(c.Dir), env...)
	if in.program.root != "" {
		c.Path, c.Err = in.program.name, nil
		c.SysProcAttr = &unix.SysProcAttr{Chroot: in.program.root}
	}
	if in.file != "" && in.program.stdin {
		f, err := os.Open(in.file)
		require.NoError(t, err)
		t.Cleanup(func() { _ = f.Close() })
		c.Stdin = f
	}
	return c
}

// signal returns a function that sends it to an instance.
func signal(s unix.Signal) func(*testing.T, *instance, *exec.Cmd) {
	return func(t *testing.T, _ *instance, c *exec.Cmd) {
		t.Helper()
		require.NoError(t, c.Process.Signal(s))
	}
}

func environ(home string) []string { return append(os.Environ(), "LC_ALL=C", "TZ=UTC", "HOME="+home) }

// programs are those of the matrix; the first two run in make test.
var programs = []program{
	{name: "tcpdump", pkg: "tcpdump", args: tcpdumpArgs, read: readPackets, stored: "out.pcap"},
	{name: "dumpcap", pkg: "wireshark-common", args: dumpcapArgs, stdin: true, read: readPackets, stored: "out.pcap"},
	{name: "tshark", pkg: "tshark", nano: true, args: tsharkArgs, read: readTshark, onlyMix: "a dissector learns from other flows"},
	{name: "ngrep", pkg: "ngrep", args: ngrepArgs, read: readNgrep},
	{name: "tcpflow", pkg: "tcpflow", args: tcpflowArgs, read: readTcpflow},
	{name: "p0f", pkg: "p0f", args: p0fArgs, read: readP0f, status: 1, onlyMix: "a host's history spans its flows"},
	{name: "darkstat", pkg: "darkstat", args: darkstatArgs, read: readDarkstat, stop: signal(unix.SIGTERM), sums: true},
	{name: "argus", pkg: "argus-server", helper: "racluster", helperPkg: "argus-client", args: argusArgs, read: readArgus, stop: signal(unix.SIGINT), kernel: true,
		onlyMix: "it joins the fragments of IPv6 and both directions of ARP, which the reference shares by addresses"},
	{name: "softflowd", pkg: "softflowd", args: softflowdArgs, read: readSoftflowd, stop: stopSoftflowd, status: 1, sums: true},
	{name: "pmacctd", pkg: "pmacct", args: pmacctdArgs, read: readPmacctd, stop: signal(unix.SIGINT), sums: true},
	{name: "nfpcapd", pkg: "nfdump", helper: "nfdump", helperPkg: "nfdump", args: nfpcapdArgs, read: readNfpcapd, fed: true, stored: "captured.pcap"},
	{name: "sngrep", pkg: "sngrep", args: sngrepArgs, read: readSngrep, stop: signal(unix.SIGTERM), stored: "out.pcap", onlyMix: "a call's media are other flows"},
}

// missing returns the packages that have to be installed for the program.
func (p program) missing() []string {
	var packages []string
	if p.root != "" {
		return nil
	}
	for _, tool := range [][2]string{{p.name, p.pkg}, {p.helper, p.helperPkg}} {
		if tool[0] == "" {
			continue
		}
		if _, err := exec.LookPath(tool[0]); err != nil && !slices.Contains(packages, tool[1]) {
			packages = append(packages, tool[1])
		}
	}
	return packages
}

// requireInstalled skips the test if the program is missing.
func (p program) requireInstalled(t *testing.T) {
	t.Helper()
	if packages := p.missing(); len(packages) > 0 {
		t.Skipf("%s is not installed: sudo apt-get install --no-install-recommends %s", p.name, strings.Join(packages, " "))
	}
}

// version is that of the Debian package.
func (p program) version(t *testing.T) string {
	out, err := exec.CommandContext(t.Context(), "dpkg-query", "--root="+p.root, "-W", "-f", "${Version}", p.pkg).Output()
	if err != nil {
		return "of unknown version"
	}
	return string(out)
}

// output runs a program in dir and returns its standard output. It must exit with status 0
// before testtime.Deadline.
func output(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testtime.Deadline)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	c.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	c.Dir, c.Stdout, c.Stderr, c.Env = dir, &stdout, &stderr, environ(dir)
	require.NoError(t, c.Run(), "%s: %s%s", c, &stdout, &stderr)
	return stdout.String()
}

// lines splits a text; empty lines are left out.
func lines(text string) []string {
	return slices.DeleteFunc(strings.Split(text, "\n"), func(l string) bool { return strings.TrimSpace(l) == "" })
}

// readPcap reads a pcap file, with microseconds or nanoseconds.
func readPcap(t *testing.T, name string) []packet {
	t.Helper()
	f, err := os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	r, err := pcapgo.NewReader(f)
	require.NoError(t, err)
	var all []packet
	for {
		data, ci, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all = append(all, packet{ci.Timestamp, ci.Length, data})
	}
}

// packetLines returns a line for each packet of a file: stamp, lengths, digest of the bytes.
func packetLines(t *testing.T, name string) []string {
	t.Helper()
	var all []string
	for _, p := range readPcap(t, name) {
		all = append(all, fmt.Sprintf("%d %d %d %x", p.stamp.UnixNano(), p.wire, len(p.data), sha256.Sum256(p.data)))
	}
	return all
}

func tcpdumpArgs(_ *testing.T, in *instance) []string {
	return append(in.input("-r", "-i"), "-w", in.path(in.program.stored))
}

// dumpcapArgs has a pipe in place of a file: dumpcap opens no capture files.
func dumpcapArgs(_ *testing.T, in *instance) []string {
	args := []string{"-q", "-P", "-w", in.path("out.pcap"), "-i"}
	if in.file != "" {
		return append(args, "-")
	}
	return append(args, in.device)
}

func readPackets(t *testing.T, in *instance) []string { return packetLines(t, in.path("out.pcap")) }

// tsharkNumber is a reference to another packet of the same input by its number.
var tsharkNumber = regexp.MustCompile(`\((request|reply) in \d+\)`)

func tsharkArgs(_ *testing.T, in *instance) []string {
	return append(in.input("-r", "-i"), "-n", "-T", "fields", "-e", "frame.time_epoch", "-e", "frame.protocols",
		"-e", "_ws.col.Source", "-e", "_ws.col.Destination", "-e", "_ws.col.Info")
}

func readTshark(_ *testing.T, in *instance) []string {
	return lines(tsharkNumber.ReplaceAllString(in.stdout.String(), "($1)"))
}

// ngrepNumber is the number of a packet, as the instance counts.
var ngrepNumber = regexp.MustCompile(`(?m)(\S) #\d+$`)

func ngrepArgs(_ *testing.T, in *instance) []string {
	return append(in.input("-I", "-d"), "-q", "-n1000000", "-t")
}

func readNgrep(_ *testing.T, in *instance) []string {
	_, text, _ := strings.Cut(in.stdout.String(), "\n\n") // input and expression
	var all []string
	for _, record := range strings.Split(ngrepNumber.ReplaceAllString(text, "$1"), "\n\n") {
		if record = strings.TrimSpace(record); record != "" {
			all = append(all, strings.ReplaceAll(record, "\n", " "))
		}
	}
	return all
}

func tcpflowArgs(_ *testing.T, in *instance) []string {
	return append(in.input("-r", "-i"), "-o", "flows")
}

func readTcpflow(t *testing.T, in *instance) []string {
	files, err := filepath.Glob(in.path("flows/*"))
	require.NoError(t, err)
	var all []string
	for _, name := range files {
		if filepath.Base(name) == "report.xml" {
			continue
		}
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		all = append(all, fmt.Sprintf("%s %d %x", filepath.Base(name), len(data), sha256.Sum256(data)))
	}
	return all
}

func p0fArgs(_ *testing.T, in *instance) []string { return append(in.input("-r", "-i"), "-o", "log") }

func readP0f(t *testing.T, in *instance) []string {
	text, err := os.ReadFile(in.path("log"))
	require.NoError(t, err)
	return lines(string(text))
}

func darkstatArgs(_ *testing.T, in *instance) []string {
	args := append(in.input("-r", "-i"), "--export", "db", "--chroot", in.dir, "--user", "root",
		"--hosts-max", "100000", "--hosts-keep", "90000", "--ports-max", "60000", "--ports-keep", "50000")
	if in.file != "" {
		return args
	}
	return append(args, "--no-daemon", "-b", "127.0.0.1", "-p", "0")
}

func readDarkstat(t *testing.T, in *instance) []string {
	db, err := os.ReadFile(in.path("db"))
	require.NoError(t, err)
	return darkstatHosts(t, db)
}

// darkstatHosts reads a database of darkstat 3 (its db.c and hosts_db.c): bytes in and out
// of each host, of its protocols and ports.
func darkstatHosts(t *testing.T, db []byte) []string {
	t.Helper()
	next := func(n int) []byte {
		require.GreaterOrEqual(t, len(db), n, "the database is cut")
		b := db[:n]
		db = db[n:]
		return b
	}
	count := func() int { return int(binary.BigEndian.Uint16(next(2))) }
	counter := func() uint64 { return binary.BigEndian.Uint64(next(8)) }
	require.Equal(t, []byte{0xda, 0x31, 0x41, 0x59, 0xda, 'H', 'S', 1}, next(8))
	var all []string
	for range binary.BigEndian.Uint32(next(4)) {
		require.Equal(t, []byte("HST\x04"), next(4))
		size := map[byte]int{4: 4, 6: 16}[next(1)[0]]
		host, ok := netip.AddrFromSlice(next(size))
		require.True(t, ok)
		next(8 + 6)           // last seen, MAC
		next(int(next(1)[0])) // name
		all = append(all, fmt.Sprintf("%s\t%d %d", host, counter(), counter()))
		require.Equal(t, []byte("P"), next(1))
		for range next(1)[0] {
			all = append(all, fmt.Sprintf("%s protocol %d\t%d %d", host, next(1)[0], counter(), counter()))
		}
		for _, kind := range []string{"T", "U", "t", "u"} { // local and remote ports
			require.Equal(t, kind, string(next(1)))
			for range count() {
				port, syn := count(), uint64(0)
				if strings.EqualFold(kind, "T") {
					syn = counter()
				}
				all = append(all, fmt.Sprintf("%s port %s%d\t%d %d %d", host, kind, port, syn, counter(), counter()))
			}
		}
	}
	return all
}

func argusArgs(_ *testing.T, in *instance) []string { return append(in.input("-r", "-i"), "-w", "out") }

func readArgus(t *testing.T, in *instance) []string {
	all := lines(output(t, in.dir, "racluster", "-r", "out", "-n", "-c", ",",
		"-s", "proto", "saddr", "sport", "daddr", "dport", "spkts", "dpkts", "sbytes", "dbytes", "-", "not", "man"))
	return slices.DeleteFunc(all, func(l string) bool { return strings.HasPrefix(l, "Proto,") }) // it has a header with some outputs
}

// softflowdArgs opens a collector for NetFlow 5.
func softflowdArgs(t *testing.T, in *instance) []string {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetReadBuffer(4<<20))
	in.collector = c
	return append(in.input("-r", "-i"), "-d", "-v", "5", "-m", "60000", "-p", "pid", "-c", "ctl", "-n", c.LocalAddr().String())
}

// stopSoftflowd ends it over its control socket: it does not catch signals.
func stopSoftflowd(t *testing.T, in *instance, _ *exec.Cmd) {
	output(t, in.dir, "softflowctl", "-c", "ctl", "shutdown")
}

// readSoftflowd reads what the collector got: flows of IPv4.
func readSoftflowd(t *testing.T, in *instance) []string {
	require.NoError(t, in.collector.SetReadDeadline(time.Now().Add(100*time.Millisecond))) // all is in the socket
	var all []string
	b := make([]byte, 2048)
	for {
		n, err := in.collector.Read(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return all
		}
		require.NoError(t, err)
		all = append(all, netflow5(t, b[:n])...)
	}
}

// netflow5 returns a line for each record of a datagram: a header of 24 bytes, records of 48.
func netflow5(t *testing.T, b []byte) []string {
	t.Helper()
	require.GreaterOrEqual(t, len(b), 24)
	require.EqualValues(t, 5, be16(b, 0))
	require.Len(t, b, 24+48*int(be16(b, 2)))
	var all []string
	for r := b[24:]; len(r) > 0; r = r[48:] {
		all = append(all, fmt.Sprintf("%d %s:%d %s:%d\t%d %d", r[38], netip.AddrFrom4([4]byte(r[:4])), be16(r, 32),
			netip.AddrFrom4([4]byte(r[4:8])), be16(r, 34), binary.BigEndian.Uint32(r[16:]), binary.BigEndian.Uint32(r[20:])))
	}
	return all
}

func pmacctdArgs(t *testing.T, in *instance) []string {
	conf := "daemonize: false\nplugins: print\naggregate: src_host, dst_host, src_port, dst_port, proto\n" +
		"print_output: csv\nprint_output_file: " + in.path("out.csv") + "\nprint_refresh_time: 3600\n"
	require.NoError(t, os.WriteFile(in.path("conf"), []byte(conf), 0o644))
	return append(in.input("-I", "-i"), "-f", "conf")
}

// readPmacctd reads what its plugin has written, a process of its own that ends later.
func readPmacctd(t *testing.T, in *instance) []string {
	require.Eventually(t, func() bool { return !busy(in.dir) }, testtime.Deadline, 10*time.Millisecond)
	text, err := os.ReadFile(in.path("out.csv"))
	require.NoError(t, err)
	var all []string
	for _, l := range lines(string(text))[1:] {
		f := strings.Split(l, ",")
		require.Len(t, f, 7, l)
		all = append(all, strings.Join(f[:5], ",")+"\t"+f[5]+" "+f[6])
	}
	return all
}

// busy reports whether a process has dir as its working directory.
func busy(dir string) bool {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	return slices.ContainsFunc(links, func(link string) bool {
		to, err := os.Readlink(link)
		return err == nil && to == dir
	})
}

func nfpcapdArgs(t *testing.T, in *instance) []string {
	require.NoError(t, os.Mkdir(in.path("flows"), 0o755))
	return []string{"-r", cmp.Or(in.file, "captured.pcap"), "-w", in.path("flows")}
}

func readNfpcapd(t *testing.T, in *instance) []string {
	return lines(output(t, in.dir, "nfdump", "-R", in.path("flows"), "-q", "-N", "-6", "-o", "fmt:%pr %sap %dap %pkt %byt %flg %ts %te"))
}

func sngrepArgs(_ *testing.T, in *instance) []string {
	return append(in.input("-I", "-d"), "-N", "-q", "-O", in.path("out.pcap"))
}

func readSngrep(t *testing.T, in *instance) []string { return packetLines(t, in.path("out.pcap")) }

// addUp adds the numbers of lines with equal keys.
func addUp(t *testing.T, all []string) []string {
	t.Helper()
	sums := map[string][]uint64{}
	for _, l := range all {
		key, numbers, found := strings.Cut(l, "\t")
		require.True(t, found, l)
		fields := strings.Fields(numbers)
		if sums[key] == nil {
			sums[key] = make([]uint64, len(fields))
		}
		for i, f := range fields {
			n, err := strconv.ParseUint(f, 10, 64)
			require.NoError(t, err, l)
			sums[key][i] += n
		}
	}
	var out []string
	for key, numbers := range sums {
		out = append(out, fmt.Sprintf("%s\t%d", key, numbers))
	}
	return out
}
