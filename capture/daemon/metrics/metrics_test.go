package metrics_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/rawstore"
	"github.com/ixcap/ixcap/capture/archive/recorder"
	"github.com/ixcap/ixcap/capture/archive/retain"
	"github.com/ixcap/ixcap/capture/daemon/metrics"
	"github.com/ixcap/ixcap/capture/dedup"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/rules"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/testtime"
	_ "github.com/ixcap/ixcap/sim"
)

// sent is the number of frames on the rig's wire.
const sent = 20_000

// rig is a finished capture with everything that has a counter: two queues, rules
// of which two are equal, duplicate removal, storers, an attached and a detached
// listener, and retention.
type rig struct {
	*metrics.Collector
	ledger capture.Ledger
	dir    string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	parsed, err := rules.Parse("(proto 250) drop; (udp) all; (proto 250) drop; 64")
	require.NoError(t, err)
	port, err := nic.Open(fmt.Sprintf("sim:gen,count=%d,size=60-300,flows=16,backpressure", sent), nic.Config{Queues: 2})
	require.NoError(t, err)
	e, err := capture.New(port, capture.Config{Buffer: 8 << 20, Rules: parsed, Dedup: &dedup.Config{}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	left, err := e.Stream(0).Listen("gone", stream.Options{Policy: stream.Lossy})
	require.NoError(t, err)
	require.NoError(t, left.Close())
	member, err := e.Stream(1).Listen("member", stream.Options{Policy: stream.Lossy, Fanout: "group=5\nmember=ids"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, member.Close()) })
	stays, err := e.Stream(1).Listen("na\xffme", stream.Options{Policy: stream.Lossy})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, stays.Close()) })

	r := &rig{dir: t.TempDir()}
	rec, err := recorder.New(e, recorder.Config{Dirs: []string{r.dir}, Queue: capture.AllQueues, Store: rawstore.Config{Port: "x"}})
	require.NoError(t, err)
	removed := retain.Stats{
		Removed: map[retain.Reason]retain.Count{retain.ForSize: {Files: 3, Bytes: 6 << 30}},
		Open:    retain.Count{Files: 4, Bytes: 400}, Reclaimed: retain.Count{Files: 5, Bytes: 500}, Unlocked: 6,
		Spared: 1, Failed: map[string]uint64{"EPERM": 2}, Kept: retain.Count{Files: 7, Bytes: 99},
	}
	r.Collector = metrics.New([]metrics.Port{{Name: "hpcap0", Device: port.Name(), Engine: e, Stored: rec.Stats}},
		func() retain.Stats { return removed }, func() uint64 { return 17 })
	r.ledger, err = rec.Run(t.Context())
	require.NoError(t, err)
	require.NoError(t, r.ledger.Balanced())
	return r
}

// scrape returns what Prometheus gets: the text, and the values by name and labels.
func scrape(t *testing.T, c *metrics.Collector) (text string, values map[string]string) {
	t.Helper()
	s, err := metrics.Serve("127.0.0.1:0", c)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Address()+"/metrics", nil)
	require.NoError(t, err)
	a, err := http.DefaultClient.Do(q)
	require.NoError(t, err)
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, a.StatusCode, "%s", body)
	values = map[string]string{}
	for line := range strings.Lines(string(body)) {
		if cut := strings.LastIndexByte(line, ' '); cut > 0 && line[0] != '#' {
			values[line[:cut]] = strings.TrimSpace(line[cut:])
		}
	}
	return string(body), values
}

func TestScrapeShowsEveryCounterOfTheLedger(t *testing.T) {
	r := newRig(t)
	_, got := scrape(t, r.Collector)
	l := r.ledger
	want := func(series string, value any) {
		t.Helper()
		v, ok := got[series]
		require.True(t, ok, "no %s", series)
		var f, w float64
		_, err := fmt.Sscan(v, &f)
		require.NoError(t, err)
		_, err = fmt.Sscan(fmt.Sprint(value), &w)
		require.NoError(t, err)
		require.Equal(t, w, f, series)
	}
	want(`ixcap_port_wire_frames_total{port="hpcap0"}`, sent)
	want(`ixcap_port_received_frames_total{port="hpcap0"}`, l.Account.Received)
	want(`ixcap_port_lost_frames_total{port="hpcap0"}`, l.Lost())
	want(`ixcap_port_capturing{port="hpcap0"}`, 0)
	want(`ixcap_port_readable{port="hpcap0"}`, 1)
	want(`ixcap_clock_info{policy="packet",port="hpcap0",source="`+l.Clock.Source+`"}`, 1)
	for _, c := range l.Account.Missed {
		want(fmt.Sprintf(`ixcap_port_missed_frames_total{cause=%q,port="hpcap0"}`, c.Cause), c.Frames)
	}
	for i, q := range l.Queues {
		of := fmt.Sprintf(`port="hpcap0",queue="%d"}`, i)
		want("ixcap_queue_polled_frames_total{"+of, q.Polled)
		want("ixcap_queue_stored_frames_total{"+of, q.Stored)
		want("ixcap_queue_filtered_frames_total{"+of, q.Filtered)
		want("ixcap_queue_duplicate_frames_total{"+of, q.Duplicates)
		want("ixcap_queue_cut_frames_total{"+of, q.Cut)
		want("ixcap_queue_stream_bytes_total{"+of, q.StreamBytes)
		want("ixcap_queue_polls_total{"+of, q.Polls)
		want("ixcap_queue_buffer_size_bytes{"+of, 8<<20)
		want("ixcap_queue_buffer_fill_bytes{"+of, 0)
		var ruled float64
		for series, v := range got {
			if strings.HasPrefix(series, "ixcap_queue_rule_frames_total{"+of[:len(of)-1]) {
				var n float64
				_, err := fmt.Sscan(v, &n)
				require.NoError(t, err)
				ruled += n
			}
		}
		require.EqualValues(t, q.Polled, ruled, "equal rules are one series, and no counter is lost")
		s := l.Storers[i]
		want("ixcap_storer_read_bytes_total{"+of, s.Read)
		want("ixcap_storer_kept_bytes{"+of, s.Written)
		want("ixcap_storer_files{"+of, s.Files)
		dir := fmt.Sprintf(`dir=%q,`, r.dir) + of
		want("ixcap_storer_dir_failing{"+dir, 0)
		writes := got["ixcap_storer_dir_write_seconds_count{"+dir]
		require.NotEmpty(t, writes)
		require.NotEqual(t, "0", writes)
		require.Equal(t, writes, got[fmt.Sprintf(`ixcap_storer_dir_write_seconds_bucket{dir=%q,port="hpcap0",queue="%d",le="+Inf"}`, r.dir, i)])
	}
	want(`ixcap_queue_detached_listeners_total{port="hpcap0",queue="0"}`, 2) // the storer, too
	want(`ixcap_group_assigned_frames_total{group="5",port="hpcap0",queue="1"}`, l.Queues[1].Stored)
	want(`ixcap_group_members{group="5",mode="hash",port="hpcap0",queue="1"}`, 1)
	want(`ixcap_member_unread_frames{group="5",id="1",member="ids",port="hpcap0",queue="1"}`, l.Queues[1].Stored)
	want(`ixcap_member_read_frames_total{group="5",id="1",member="ids",port="hpcap0",queue="1"}`, 0)
	unread := fmt.Sprintf(`{id="2",listener="na%sme",port="hpcap0",queue="1"}`, "\uFFFD")
	want("ixcap_listener_stored_frames_total"+unread, l.Queues[1].Stored)
	want("ixcap_listener_unread_frames"+unread, l.Queues[1].Stored)
	want("ixcap_listener_read_frames_total"+unread, 0)
	want(`ixcap_retention_removed_files_total{reason="size"}`, 3)
	want(`ixcap_retention_removed_bytes_total{reason="size"}`, 6<<30)
	want(`ixcap_retention_removed_files_total{reason="age"}`, 0)
	want(`ixcap_retention_failed_total{cause="EPERM"}`, 2)
	want(`ixcap_retention_spared_total`, 1)
	want(`ixcap_retention_open_files`, 4)
	want(`ixcap_retention_open_bytes`, 400)
	want(`ixcap_retention_reclaimed_files_total`, 5)
	want(`ixcap_retention_reclaimed_bytes_total`, 500)
	want(`ixcap_retention_unlocked_total`, 6)
	want(`ixcap_retention_kept_bytes`, 99)
	want(`ixcap_log_messages_dropped_total`, 17)
	require.NotEmpty(t, got["go_goroutines"])
}

func TestNamesFollowTheConventions(t *testing.T) {
	r := newRig(t)
	problems, err := testutil.CollectAndLint(r.Collector)
	require.NoError(t, err)
	require.Empty(t, problems)
	require.NoError(t, prometheus.NewPedanticRegistry().Register(r.Collector), "the families collected are those described")
}

// A HELP text stands alone: it does not refer to the metric before it.
func TestHelpTextsStandAlone(t *testing.T) {
	text, _ := scrape(t, newRig(t).Collector)
	n := 0
	for line := range strings.Lines(text) {
		help, ok := strings.CutPrefix(line, "# HELP ixcap_")
		if !ok {
			continue
		}
		n++
		_, help, _ = strings.Cut(strings.TrimSpace(help), " ")
		require.Regexp(t, `^[A-Z0-9].*\.$`, help)
		require.NotRegexp(t, `(?i)^(of|how|they|it|such)\b|\b(of|while) those\b|\bsuch\b|that (it|they) (read|was|were|has)\b`, help)
	}
	require.Greater(t, n, 60)
}

func TestPromtoolFindsNothing(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is missing: apt install prometheus")
	}
	text, _ := scrape(t, newRig(t).Collector)
	check := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	check.Stdin = strings.NewReader(text)
	out, err := check.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Empty(t, strings.TrimSpace(string(out)))
}

func TestScrapesWhileCapturingNeverFail(t *testing.T) {
	port, err := nic.Open("sim:gen,size=60,rate=20kpps,flows=8", nic.Config{Queues: 2})
	require.NoError(t, err)
	e, err := capture.New(port, capture.Config{Buffer: 4 << 20})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	rec, err := recorder.New(e, recorder.Config{Queue: capture.AllQueues})
	require.NoError(t, err)
	c := metrics.New([]metrics.Port{{Name: "a", Engine: e, Stored: rec.Stats}}, nil, nil)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { _, err := rec.Run(ctx); done <- err }()
	before := 0.0
	require.Eventually(t, func() bool {
		_, got := scrape(t, c)
		var now float64
		_, err := fmt.Sscan(got[`ixcap_queue_polled_frames_total{port="a",queue="0"}`], &now)
		require.NoError(t, err)
		require.GreaterOrEqual(t, now, before)
		grew := now > before && before > 0
		before = now
		return grew && got[`ixcap_port_capturing{port="a"}`] == "1"
	}, 60*time.Second, time.Millisecond)
	stop()
	require.NoError(t, <-done)
}

func TestServerRefusesBadAddressesAndPaths(t *testing.T) {
	_, err := metrics.Serve("192.0.2.77:0", metrics.New(nil, nil, nil))
	require.ErrorContains(t, err, "serve metrics at 192.0.2.77:0: ")
	s, err := metrics.Serve("127.0.0.1:0", metrics.New(nil, nil, nil))
	require.NoError(t, err)
	_, err = metrics.Serve(s.Address(), metrics.New(nil, nil, nil))
	require.ErrorContains(t, err, "address already in use")
	for path, want := range map[string]int{"/": 200, "/metrics": 200, "/other": 404} {
		a, err := http.Get("http://" + s.Address() + path)
		require.NoError(t, err)
		require.NoError(t, a.Body.Close())
		require.Equal(t, want, a.StatusCode, path)
	}
	a, err := http.Post("http://"+s.Address()+"/metrics", "", nil)
	require.NoError(t, err)
	require.NoError(t, a.Body.Close())
	require.Equal(t, http.StatusMethodNotAllowed, a.StatusCode)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
}

func TestScrapeShowsWhatFramesWereLostTo(t *testing.T) {
	port, err := nic.Open("sim:gen,size=60,rate=1Mpps", nic.Config{})
	require.NoError(t, err)
	e, err := capture.New(port, capture.Config{Buffer: 2 << 20})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	l, err := e.Stream(0).Listen("tardy", stream.Options{Policy: stream.Lossless})
	require.NoError(t, err)
	require.NoError(t, e.Start())
	c := metrics.New([]metrics.Port{{Name: "p", Device: port.Name(), Engine: e}}, nil, nil)
	require.Eventually(t, func() bool {
		_, values := scrape(t, c)
		return values[`ixcap_port_loss_cause_frames_total{cause="backpressure of a lossless listener",port="p"}`] != ""
	}, testtime.Deadline, 100*time.Millisecond)
	require.NoError(t, l.Close())
	require.NoError(t, e.Stop())
	ledger, err := e.Ledger()
	require.NoError(t, err)
	require.NoError(t, ledger.Balanced())
}
