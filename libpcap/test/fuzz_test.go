package test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/fanout"
)

// parser is a settings program that parses one text after the other. ASan and UBSan end
// it at the first error.
type parser struct {
	kind, path string
	in         io.WriteCloser
	out        *bufio.Reader
	cmd        *exec.Cmd
	stderr     strings.Builder
}

func newParser(t testing.TB, kind string) *parser {
	dir := t.TempDir()
	p := &parser{kind: kind, path: filepath.Join(dir, "text"), cmd: exec.Command(settings(t), dir, "many")}
	p.cmd.Env = []string{"HOME=" + dir}
	p.cmd.Stderr = &p.stderr
	var err error
	p.in, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.out = bufio.NewReader(out)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		p.in.Close()
		require.NoError(t, p.cmd.Wait(), p.stderr.String())
	})
	return p
}

// parse returns what the program prints about the text.
func (p *parser) parse(t testing.TB, text []byte) (lines []string) {
	require.NoError(t, os.WriteFile(p.path, text, 0o644))
	_, err := io.WriteString(p.in, p.kind+" "+p.path+"\n")
	require.NoError(t, err)
	for {
		line, err := p.out.ReadString('\n')
		if err != nil {
			p.cmd.Wait()
			t.Fatalf("the parser ended: %v\n%s", err, p.stderr.String())
		}
		if line == "end\n" {
			return lines
		}
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
}

// requests returns the texts in the output that ask for a group.
func requests(lines []string) (texts []string) {
	for _, line := range lines {
		key, _, _ := strings.Cut(line, "=")
		switch key {
		case "group":
			texts = append(texts, "")
			fallthrough
		case "mode", "member", "weight", "filter", "tunnels", "threshold", "departed":
			texts[len(texts)-1] += line + "\n"
		}
	}
	return texts
}

// readByTheCapture checks that the capture's parser reads a request. It alone parses the
// expression of a filter and the member's UTF-8.
func readByTheCapture(t testing.TB, request string) {
	if _, err := fanout.ParseSettings(request); err != nil {
		require.Regexp(t, `^fan-out settings: (filter|member) `, err.Error(), "%q", request)
	}
}

var place = regexp.MustCompile(`^error (read )?/[^:]*/text:`)

// A configuration file is refused with its name, or what it says is what a capture reads.
func FuzzConfiguration(f *testing.F) {
	for _, seed := range []string{
		"def_group = 11\ncaplen = 64\nrx_slots = 131072\n> main = do\n>     tcp\n>     steer_flow\n",
		"group_eth0 = 11\ngroup_eth1:2 = 23\nfanout@23 = filter, weight=3, tcp port 80\nfanout = hash, tunnels=gre+vxlan\n",
		"combined_channels@eth0 = 2\nirq@eth0.0 = 0\nirq@eth1.255 = 0-3,5\nrx_channels@eth1=1\n",
		"policy = lossless, 60 # s\nweight@3 = 4\ndeparted = count\nmember = a\ntunnels = all\n",
		"fanout = round_robin\ngroup = 65535\nfanout@65535 = inner_flow",
	} {
		f.Add([]byte(seed))
	}
	p := newParser(f, "file")
	f.Fuzz(func(t *testing.T, text []byte) {
		lines := p.parse(t, text)
		require.NotEmpty(t, lines)
		if strings.HasPrefix(lines[0], "error ") {
			require.Regexp(t, place, lines[0])
			return
		}
		require.Equal(t, "driver ixcap", lines[0])
		for _, request := range requests(lines) {
			readByTheCapture(t, request)
		}
	})
}

// So it is for the text of pcap_fanout.
func FuzzFanout(f *testing.F) {
	for _, seed := range []string{"hash", "flow, weight=3", "filter, member=a, udp port 53", "rnd+defrag+rollover", "main = do tcp; steer_rrobin", "hash, tunnels=none, departed=redistribute", "buddy, threshold=20"} {
		f.Add([]byte(seed))
	}
	p := newParser(f, "fanout")
	f.Fuzz(func(t *testing.T, text []byte) {
		lines := p.parse(t, text)
		require.NotEmpty(t, lines)
		if strings.HasPrefix(lines[0], "error ") {
			require.Greater(t, len(lines[0]), len("error "))
			return
		}
		texts := requests(lines)
		require.Len(t, texts, 1)
		readByTheCapture(t, texts[0])
	})
}
