package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/daemon/control"
)

// What pktgen sends through one port arrives at the other, is captured, and is reported on
// while the capture runs.
func TestSentFramesAreAnalyzedWhileTheyAreCaptured(t *testing.T) {
	const frames = 10000
	dir := shortDir(t)
	a, b, share := filepath.Join(dir, "a.sock"), filepath.Join(dir, "b.sock"), filepath.Join(dir, "share")
	model := launch(t, command(t, "nicsim", "--socket", a, "--socket", b, "--wire", "pair"))
	eventually(t, "nicsim does not listen", func() bool {
		c, err := net.Dial("unix", b)
		if err == nil {
			err = c.Close()
		}
		return err == nil
	})
	capturing := launch(t, command(t, "hpcapdd", "-i", "vfio-user:"+b, "-w", "null", "--buffer", "32MiB", "--share", share, "--json"))
	ctl := []string{"--socket", filepath.Join(share, "control.sock")}
	eventually(t, "hpcapdd does not serve its sockets", func() bool {
		_, err := os.Stat(ctl[1])
		return err == nil && run(t, "hpcapctl", append(ctl, "status")...).status == 0
	})
	analysis := launch(t, command(t, "pktgen", "analyze", "--share", share))
	eventually(t, "pktgen analyze does not attach", func() bool {
		return len(asJSON[control.Listeners](t, append(ctl, "listeners")...).Attached) == 2
	})

	sent := succeed(t, "pktgen", "send", "--rate", "20kpps", "--size", "imix", "--flows", "10", "--src-port", "1000-1009", "-c", fmt.Sprint(frames), "vfio-user:"+a)
	require.Contains(t, sent.stdout, fmt.Sprintf("%d  frames    sent to vfio-user:", frames))
	eventually(t, "the frames do not arrive", func() bool {
		return asJSON[control.Status](t, append(ctl, "status")...).Queues[0].Polled >= frames
	})
	l := ledger(t, capturing.end(unix.SIGINT))
	require.EqualValues(t, frames, l.Frames())
	require.Zero(t, l.TotalLost())
	got := analysis.wait()
	require.Zero(t, got.status, got.stderr)
	require.Contains(t, got.stdout, fmt.Sprintf("%12d  frames    received of stream 0, sequence numbers 0 to %d\n", frames, frames-1))
	require.Contains(t, got.stdout, fmt.Sprintf("%12d  frames      lost between these\n%12d  frames      reordered (RFC 4737)\n%12d  frames      duplicates\n", 0, 0, 0))
	require.NotContains(t, got.stdout, "without a mark")
	require.Zero(t, model.end(unix.SIGINT).status)
}
