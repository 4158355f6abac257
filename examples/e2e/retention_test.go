package e2e

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/internal/mounttest"
)

// A query of all files is stopped while retention needs their space. The oldest files
// are deleted, the capture stores every frame, and the newest files stay. The query then
// reads the deleted files to their end, or says which of them it could not read because
// the disk was short of space.
func TestAStoppedQueryCostsNoNewFile(t *testing.T) {
	for name, c := range map[string]struct {
		disk      string
		limit     []string
		reclaimed bool
	}{
		"roomy disk": {"96m", []string{"--keep-size", "8MiB"}, false},
		"full disk":  {"26m", []string{"--keep-free", "8MiB"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := mounttest.Tmpfs(t, c.disk)
			old := "sim:pcap=" + filepath.Join("..", "..", "testdata", "hosts.pcap") + ",rate=line,loop=5,backpressure"
			succeed(t, "hpcapdd", "-i", old, "-w", dir, "-C", "1MiB", "--buffer", "4MiB")
			before, err := archive.List(dir)
			require.NoError(t, err)
			require.Greater(t, len(before), 5)
			want := succeed(t, "hpcapq", "-r", dir, "-w", "-").stdout

			read, write, err := os.Pipe()
			require.NoError(t, err)
			defer read.Close()
			query := command(t, "hpcapq", "-r", dir, "-w", "-")
			query.Stdout = write
			q := launch(t, query)
			require.NoError(t, write.Close())
			got := make([]byte, 4096)
			_, err = io.ReadFull(read, got)
			require.NoError(t, err)
			q.signal(unix.SIGSTOP)

			dd := launch(t, command(t, "hpcapdd", append([]string{"-i", "sim:gen,size=1000,rate=60Mbps,backpressure", "-w", dir, "-C", "1MiB", "--buffer", "4MiB", "--json"}, c.limit...)...))
			last := before[len(before)-1].Path
			eventually(t, "the old files are not deleted", func() bool { _, err := os.Stat(last); return os.IsNotExist(err) })
			if c.reclaimed {
				dd.waitStderr("reclaimed")
				eventually(t, "few files are new", func() bool { files, err := archive.List(dir); return err == nil && files[0].Seq > 3 })
			}
			r := dd.end(unix.SIGTERM)
			require.Zero(t, r.status, r.stderr)
			l := ledger(t, r)
			require.Zero(t, l.Lost())
			require.Zero(t, l.Unwritten(), "%+v", l.Storers)
			after, err := archive.List(dir)
			require.NoError(t, err)
			require.GreaterOrEqual(t, len(after), 4)
			require.Equal(t, l.Storers[0].Files, after[len(after)-1].Seq+1, "the newest file is kept")
			for i, f := range after {
				require.Equal(t, after[0].Seq+i, f.Seq, "and those before it")
			}
			require.Contains(t, r.stderr, "deleted "+before[0].Path)
			require.Contains(t, r.stderr, "a reader has it open: it may read on for 1m0s")

			q.signal(unix.SIGCONT)
			rest, err := io.ReadAll(read)
			require.NoError(t, err)
			answer := q.wait()
			if c.reclaimed {
				require.Equal(t, 1, answer.status, answer.stderr)
				require.Contains(t, answer.stderr, "reclaimed its space")
				return
			}
			require.Zero(t, answer.status, answer.stderr)
			require.Equal(t, want, string(got)+string(rest), "as if nothing had been deleted")
			require.Equal(t, 0, strings.Count(answer.stderr, "missing"), answer.stderr)
		})
	}
}
