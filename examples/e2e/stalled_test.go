package e2e

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/internal/mounttest"
	"github.com/ixcap/ixcap/internal/testtime"
)

// When a listener dies, a line about it is logged. Whoever detaches it may not wait for
// the log: the listener would hold the capture for ever.
func TestCaptureGoesOnWhenItsLogCannotBeWritten(t *testing.T) {
	for name, stderr := range stalledLogs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, share := t.TempDir(), shortDir(t)
			c := command(t, "hpcapdd", "-i", "sim:gen,size=1000,rate=200Mbps,backpressure", "-w", dir, "--share", share,
				"--segment", "2MiB", "--buffer", "4MiB", "--keep-size", "32MiB", "--json", "--progress", "--verbose")
			c.Stderr = stderr(t)
			dd := launch(t, c)
			there := controlled(t, share)
			const buffer = 4 << 20 / 1000 // frames
			for range 2 {
				killListener(t, share)
				waitStored(t, there, 2*buffer)
			}
			began := time.Now()
			r := dd.end(unix.SIGTERM)
			require.Zero(t, r.status)
			require.Less(t, time.Since(began), testtime.Deadline/2)
			l := ledger(t, r)
			require.Zero(t, l.TotalLost())
			require.Len(t, l.Queues[0].Listeners, 3, "2 listeners and the storer")
			requireIntact(t, dir)
		})
	}
}

// A terminal that is closed hangs up the programs that it controls, and returns EIO.
func TestCaptureGoesOnWhenItsTerminalIsClosed(t *testing.T) {
	dir, share := t.TempDir(), shortDir(t)
	screen, tty := terminal(t)
	c := command(t, "hpcapdd", "-i", "sim:gen,size=1000,rate=200Mbps,backpressure", "-w", dir, "--share", share,
		"--segment", "2MiB", "--buffer", "4MiB", "--keep-size", "32MiB", "--json")
	c.Stderr, c.ExtraFiles = tty, []*os.File{tty}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 3}
	dd := launch(t, c)
	there := controlled(t, share)
	require.NoError(t, tty.Close())
	require.NoError(t, screen.Close())
	for range 2 {
		killListener(t, share)
		waitStored(t, there, 10_000)
	}
	r := dd.end(unix.SIGTERM)
	require.Zero(t, r.status)
	require.Zero(t, ledger(t, r).TotalLost())
	requireIntact(t, dir)
}

// A log daemon that is restarted: the pipe has no reader for a while. What was lost is
// told to the next one.
func TestCaptureGoesOnWhileItsLogIsRestarted(t *testing.T) {
	share, fifo := shortDir(t), filepath.Join(t.TempDir(), "log")
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	read := func() (*bufio.Scanner, *os.File) {
		f, err := os.OpenFile(fifo, os.O_RDONLY|unix.O_NONBLOCK, 0)
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		require.NoError(t, f.SetReadDeadline(time.Now().Add(testtime.Deadline)))
		return bufio.NewScanner(f), f
	}
	lines, reader := read()
	w, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	require.NoError(t, err)
	c := command(t, "hpcapdd", "-i", "sim:gen,size=1000,rate=100Mbps,backpressure", "-w", "null", "--share", share, "--buffer", "4MiB", "--json")
	c.Stderr = w
	dd := launch(t, c)
	require.NoError(t, w.Close())
	there := controlled(t, share)
	next := func(want string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), want) {
				return
			}
		}
		require.Fail(t, "no line "+want, "%v", lines.Err())
	}
	killListener(t, share)
	next("detached")
	require.NoError(t, reader.Close())
	killListener(t, share)
	waitStored(t, there, 10_000)
	lines, _ = read()
	killListener(t, share)
	next(" dropped in the last ") // those of the listener, and any warning of that time
	next("detached")
	r := dd.end(unix.SIGTERM)
	require.Zero(t, r.status)
	require.Zero(t, ledger(t, r).TotalLost())
}

func TestSecondSignalWithinASecondIsTheSame(t *testing.T) {
	for range 3 {
		dir := t.TempDir()
		dd := launch(t, command(t, "hpcapdd", "-i", "sim:gen,size=1000,rate=1Gbps,backpressure", "-w", dir, "--segment", "2MiB", "--buffer", "4MiB", "--json"))
		waitBytes(t, dir, 5<<20)
		dd.signal(unix.SIGINT)
		dd.signal(unix.SIGINT)
		r := dd.end(unix.SIGTERM)
		require.Zero(t, r.status, r.stderr)
		require.Zero(t, ledger(t, r).TotalLost())
		requireIntact(t, dir)
	}
}

// The ledger has a deadline, and a signal more than a second after the first one ends
// at once.
func TestLedgerThatIsNotReadEndsInTime(t *testing.T) {
	t.Parallel()
	for _, again := range []bool{false, true} {
		dir := t.TempDir()
		c := command(t, "hpcapdd", "-i", "sim:gen,size=1000,rate=200Mbps,backpressure", "-w", dir, "--buffer", "4MiB")
		_, c.Stdout = unreadPipe(t)
		dd := launch(t, c)
		waitBytes(t, dir, 1<<20)
		dd.signal(unix.SIGTERM)
		if again {
			time.Sleep(1200 * time.Millisecond)
			dd.signal(unix.SIGINT)
		}
		began := time.Now()
		r := dd.wait()
		require.Less(t, time.Since(began), testtime.Deadline/2)
		if again {
			require.Equal(t, 128+int(unix.SIGINT), r.status, r.stderr)
			require.Contains(t, r.stderr, "hpcapdd: second interrupt: exiting at once")
		} else {
			requireOneLine(t, r, "hpcapdd", "ledger: write standard output: it was not read for 5s")
		}
		requireIntact(t, dir)
	}
}

func TestLedgerWithoutAReaderIsAnError(t *testing.T) {
	c := command(t, "hpcapdd", "-i", "sim:gen,count=10,backpressure", "-w", "null", "--buffer", "4MiB")
	c.Stdout = stalledLogs["pipe without a reader"](t)
	r := launch(t, c).wait()
	requireOneLine(t, r, "hpcapdd", "broken pipe")
	require.Equal(t, 1, r.status)
}

// unlimitRealTime lets threads with a real-time priority run without a pause until the
// test ends: the kernel stops them for 50 ms of each second else (docs/SCHEDULING.md).
func unlimitRealTime(t *testing.T) {
	const file = "/proc/sys/kernel/sched_rt_runtime_us"
	before, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, []byte("-1"), 0), "this test is root's")
	t.Cleanup(func() { require.NoError(t, os.WriteFile(file, before, 0)) })
}

// isolatePoller moves all threads of a capture and of the test off the core of the
// capture's one poller, which has a real-time priority. Threads that wait for such a core
// get it for 50 ms of each second from Linux 6.12 on (docs/SCHEDULING.md).
func isolatePoller(t *testing.T, capture *program) {
	var others []int
	var rest unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &rest))
	before := rest
	for _, pid := range []int{capture.Process.Pid, os.Getpid()} {
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		require.NoError(t, err)
		for _, task := range tasks {
			tid, err := strconv.Atoi(task.Name())
			require.NoError(t, err)
			attr, err := unix.SchedGetAttr(tid, 0)
			require.NoError(t, err)
			if attr.Policy != unix.SCHED_FIFO {
				others = append(others, tid)
				continue
			}
			var poller unix.CPUSet
			require.NoError(t, unix.SchedGetaffinity(tid, &poller))
			require.Equal(t, 1, poller.Count())
			for core := range runtime.NumCPU() {
				if poller.IsSet(core) {
					rest.Clear(core)
				}
			}
		}
	}
	require.Less(t, rest.Count(), before.Count(), "the poller has a core")
	for _, tid := range others {
		require.NoError(t, unix.SchedSetaffinity(tid, &rest))
	}
	t.Cleanup(func() {
		for _, tid := range others {
			_ = unix.SchedSetaffinity(tid, &before) // those of the test
		}
	})
}

// stallTime is how long everything is stalled: a minute in make crash.
func stallTime() time.Duration {
	if os.Getenv("IXCAP_CRASHES") != "" {
		return time.Minute
	}
	return 3 * time.Second
}

// A capture at 1 Mpps, and at once a log that cannot be written, a disk that is full, a
// query that is stopped while its output is not read, a service manager and clients that
// read nothing, and listeners that die. No frame is lost: neither by the port nor by the
// stream nor on the way to the disk that has room. SIGTERM ends the capture in order.
//
// In the long test the wire sends whatever the capture does, and the poller has a
// real-time priority, so that the test needs no more than two cores. In the short one
// the wire waits while the port's buffer is full: a machine under load stops pollers.
func TestCaptureGoesOnWhileEverythingStalls(t *testing.T) {
	for _, log := range []string{"terminal that is stopped", "pipe that is not read", "dead socket"} {
		t.Run(log, func(t *testing.T) { everythingStalls(t, stalledLogs[log](t)) })
	}
}

func everythingStalls(t *testing.T, log *os.File) {
	const fps = 1_000_000
	long := stallTime() == time.Minute
	wire, more := "sim:gen,size=60,flows=64,rate=1Mpps,backpressure", []string(nil)
	if long {
		unlimitRealTime(t)
		// burst: the model's thread may be behind by less than ring and packet buffer hold.
		wire, more = "sim:gen,size=60,flows=64,rate=1Mpps,burst=4ms", []string{"--fifo", "10"}
	}
	good, full, share := filepath.Join(mounttest.Tmpfs(t, "640m"), "files"), mounttest.Tmpfs(t, "4m"), shortDir(t)
	require.ErrorIs(t, os.WriteFile(filepath.Join(full, "filler"), make([]byte, 8<<20), 0o600), unix.ENOSPC)
	metrics := freeAddress(t)
	const limit = 3 * testtime.Deadline
	c := commandFor(t, limit, "hpcapdd", append(more, "-i", wire, "-w", good, "-w", full, "--segment", "16MiB", "--keep-size", "384MiB",
		"--buffer", "256MiB", "--share", share, "--metrics", metrics, "--json", "--progress", "--verbose")...)
	c.Stderr = log
	// A garbage collection stops the poller, for as long as it takes to stop the others.
	c.Env = append(os.Environ(), "GOGC=off", "NOTIFY_SOCKET="+unreadNotifications(t))
	dd := launch(t, c)
	there := controlled(t, share)
	if long {
		isolatePoller(t, dd)
	}
	began := time.Now()
	waitBytes(t, good, 48<<20)

	query := commandFor(t, limit, "hpcapq", "-r", good, "-w", "-")
	_, query.Stdout = unreadPipe(t)
	q := launch(t, query)
	waitOpened(t, q, good)
	q.signal(unix.SIGSTOP)
	silence(t, "unix", filepath.Join(share, "control.sock"), "GET /v1/ledger HTTP/1.1\r\nHost: x\r\n\r\n", 4)
	silence(t, "unix", filepath.Join(share, "control.sock"), "GET /v1/led", 4)
	silence(t, "tcp", metrics, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 2)
	for time.Since(began) < stallTime() {
		killListener(t, share)
		waitStored(t, there, fps/100)
		time.Sleep(300 * time.Millisecond)
	}
	running := time.Since(began)
	began = time.Now()
	r := dd.end(unix.SIGTERM)
	require.Less(t, time.Since(began), testtime.Deadline/2)
	q.signal(unix.SIGKILL)
	require.Zero(t, r.status, r.stdout)
	l := ledger(t, r)
	t.Logf("%d frames in %v, longest poll gap %v", l.Frames(), running, l.Queues[0].LongestGap)
	require.Zero(t, l.TotalLost(), r.stdout)
	if long {
		require.GreaterOrEqual(t, float64(l.Frames()), 0.99*fps*running.Seconds())
	}
	requireIntact(t, good)
}
