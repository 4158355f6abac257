package pcapfront

import (
	"bytes"
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

	"github.com/ixcap/ixcap/internal/testtime"
)

// program is a program of Debian that reads packets through libpcap.
type program struct {
	name, pkg string // in PATH; Debian package
	helper    string // also needed: prints what the program has written
	helperPkg string
	// run lets one instance read a capture file; dir is empty and the instance's own. It
	// returns the output, normalised: one line for each packet, message, flow or host.
	run func(t *testing.T, dir, file string) []string
	// sums: hosts occur in several shares. A line is a key, a tab and numbers, and the
	// numbers of equal keys are added up. Else a line is in one share only.
	sums bool
	// onlyMix: why the program's output on other captures depends on more than one flow.
	onlyMix string
}

// programs are those of the matrix; the first two run in make test.
var programs = []program{
	{name: "tcpdump", pkg: "tcpdump", run: runTcpdump},
	{name: "dumpcap", pkg: "wireshark-common", run: runDumpcap},
	{name: "tshark", pkg: "tshark", run: runTshark, onlyMix: "a dissector learns from other flows"},
	{name: "ngrep", pkg: "ngrep", run: runNgrep},
	{name: "tcpflow", pkg: "tcpflow", run: runTcpflow},
	{name: "p0f", pkg: "p0f", run: runP0f, onlyMix: "a host's history spans its flows"},
	{name: "darkstat", pkg: "darkstat", run: runDarkstat, sums: true},
	{name: "argus", pkg: "argus-server", helper: "racluster", helperPkg: "argus-client", run: runArgus,
		onlyMix: "it joins the fragments of IPv6 and both directions of ARP, which the reference shares by addresses"},
	{name: "softflowd", pkg: "softflowd", run: runSoftflowd, sums: true},
	{name: "pmacctd", pkg: "pmacct", run: runPmacctd, sums: true},
	{name: "nfpcapd", pkg: "nfdump", helper: "nfdump", helperPkg: "nfdump", run: runNfpcapd},
	{name: "sngrep", pkg: "sngrep", run: runSngrep, onlyMix: "a call's media are other flows"},
}

// missing returns the packages that have to be installed for the program.
func (p program) missing() []string {
	var packages []string
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

// version is that of the Debian package.
func (p program) version(t *testing.T) string {
	out, err := exec.CommandContext(t.Context(), "dpkg-query", "-W", "-f", "${Version}", p.pkg).Output()
	if err != nil {
		return "of unknown version"
	}
	return string(out)
}

// output runs a program in dir and returns its standard output. It must exit with status 0
// before testtime.Deadline.
func output(t *testing.T, dir string, stdin io.Reader, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testtime.Deadline)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	c.WaitDelay = time.Second // for pipes that its children keep open
	var stdout, stderr bytes.Buffer
	c.Dir, c.Stdin, c.Stdout, c.Stderr = dir, stdin, &stdout, &stderr
	c.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC", "HOME="+dir)
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

func runTcpdump(t *testing.T, dir, file string) []string {
	out := filepath.Join(dir, "out.pcap")
	output(t, dir, nil, "tcpdump", "-r", file, "-w", out)
	return packetLines(t, out)
}

// runDumpcap feeds dumpcap from a pipe: it opens no capture files.
func runDumpcap(t *testing.T, dir, file string) []string {
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	out := filepath.Join(dir, "out.pcap")
	output(t, dir, f, "dumpcap", "-q", "-P", "-i", "-", "-w", out)
	return packetLines(t, out)
}

// tsharkNumber is a reference to another packet of the same input by its number.
var tsharkNumber = regexp.MustCompile(`\((request|reply) in \d+\)`)

func runTshark(t *testing.T, dir, file string) []string {
	return lines(tsharkNumber.ReplaceAllString(output(t, dir, nil, "tshark", "-n", "-r", file, "-T", "fields", "-e", "frame.time_epoch", "-e", "frame.protocols",
		"-e", "_ws.col.Source", "-e", "_ws.col.Destination", "-e", "_ws.col.Info"), "($1)"))
}

// ngrepNumber is the number of a packet, as the instance counts.
var ngrepNumber = regexp.MustCompile(`(?m)(\S) #\d+$`)

func runNgrep(t *testing.T, dir, file string) []string {
	text := output(t, dir, nil, "ngrep", "-q", "-n1000000", "-t", "-I", file)
	_, text, _ = strings.Cut(text, "\n\n") // input and expression
	var all []string
	for _, record := range strings.Split(ngrepNumber.ReplaceAllString(text, "$1"), "\n\n") {
		if record = strings.TrimSpace(record); record != "" {
			all = append(all, strings.ReplaceAll(record, "\n", " "))
		}
	}
	return all
}

func runTcpflow(t *testing.T, dir, file string) []string {
	output(t, dir, nil, "tcpflow", "-r", file, "-o", "flows")
	files, err := filepath.Glob(filepath.Join(dir, "flows", "*"))
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

func runP0f(t *testing.T, dir, file string) []string {
	output(t, dir, nil, "p0f", "-r", file, "-o", "log")
	text, err := os.ReadFile(filepath.Join(dir, "log"))
	require.NoError(t, err)
	return lines(string(text))
}

func runDarkstat(t *testing.T, dir, file string) []string {
	output(t, dir, nil, "darkstat", "-r", file, "--export", "db", "--chroot", dir, "--user", "root",
		"--hosts-max", "100000", "--hosts-keep", "90000", "--ports-max", "60000", "--ports-keep", "50000")
	db, err := os.ReadFile(filepath.Join(dir, "db"))
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

func runArgus(t *testing.T, dir, file string) []string {
	output(t, dir, nil, "argus", "-r", file, "-w", "out")
	all := lines(output(t, dir, nil, "racluster", "-r", "out", "-n", "-c", ",",
		"-s", "proto", "saddr", "sport", "daddr", "dport", "spkts", "dpkts", "sbytes", "dbytes", "-", "not", "man"))
	return slices.DeleteFunc(all, func(l string) bool { return strings.HasPrefix(l, "Proto,") }) // it has a header with some outputs
}

// runSoftflowd reads the NetFlow 5 that softflowd exports: flows of IPv4.
func runSoftflowd(t *testing.T, dir, file string) []string {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetReadBuffer(4<<20))
	output(t, dir, nil, "softflowd", "-d", "-r", file, "-v", "5", "-m", "60000", "-p", "pid", "-c", "ctl", "-n", c.LocalAddr().String())
	require.NoError(t, c.SetReadDeadline(time.Now().Add(100*time.Millisecond))) // all is in the socket
	var all []string
	b := make([]byte, 2048)
	for {
		n, err := c.Read(b)
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

func runPmacctd(t *testing.T, dir, file string) []string {
	conf := "daemonize: false\nplugins: print\naggregate: src_host, dst_host, src_port, dst_port, proto\n" +
		"print_output: csv\nprint_output_file: " + filepath.Join(dir, "out.csv") + "\nprint_refresh_time: 3600\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "conf"), []byte(conf), 0o644))
	output(t, dir, nil, "pmacctd", "-f", "conf", "-I", file)
	text, err := os.ReadFile(filepath.Join(dir, "out.csv"))
	require.NoError(t, err)
	var all []string
	for _, l := range lines(string(text))[1:] {
		f := strings.Split(l, ",")
		require.Len(t, f, 7, l)
		all = append(all, strings.Join(f[:5], ",")+"\t"+f[5]+" "+f[6])
	}
	return all
}

func runNfpcapd(t *testing.T, dir, file string) []string {
	require.NoError(t, os.Mkdir(filepath.Join(dir, "flows"), 0o755))
	output(t, dir, nil, "nfpcapd", "-r", file, "-w", filepath.Join(dir, "flows"))
	return lines(output(t, dir, nil, "nfdump", "-R", filepath.Join(dir, "flows"), "-q", "-N", "-6", "-o", "fmt:%pr %sap %dap %pkt %byt %flg %ts %te"))
}

func runSngrep(t *testing.T, dir, file string) []string {
	out := filepath.Join(dir, "out.pcap")
	output(t, dir, nil, "sngrep", "-N", "-q", "-I", file, "-O", out)
	return packetLines(t, out)
}

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
