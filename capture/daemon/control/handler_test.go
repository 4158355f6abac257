package control

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/rules"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/testtime"
)

func TestErrorsAreOneSentenceAsJSON(t *testing.T) {
	e, _ := engine(t, 2)
	attach(t, e, 0, "alone", stream.Options{})
	attach(t, e, 0, "twin", stream.Options{})
	attach(t, e, 1, "twin", stream.Options{})
	attach(t, e, 1, "storer", stream.Options{})
	h := handle(t, e, Config{Fixed: func(l Listener) string {
		if l.Name == "storer" {
			return "it stores the capture"
		}
		return ""
	}})
	_, grammar := rules.Parse("(port x) drop")
	require.Error(t, grammar)
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/", "", 404, "there is no /: the paths are /v1/status"},
		{"GET", "/v1/", "", 404, "there is no /v1/"},
		{"GET", "/v2/status", "", 404, "there is no /v2/status"},
		{"GET", "//v1//status", "", 404, "there is no"},
		{"POST", "/v1/status", "", 405, "use GET, HEAD"},
		{"DELETE", "/v1/rules", "", 405, "use GET, HEAD, PUT"},
		{"GET", "/v1/listeners/alone/policy", "", 405, "use PUT"},
		{"GET", "/v1/listeners/other", "", 404, `no listener named "other" is attached; attached are 0:1 (alone, pid `},
		{"GET", "/v1/listeners/0:99", "", 404, "no listener 0:99 is attached"},
		{"DELETE", "/v1/listeners/twin", "", 409, `2 listeners are named "twin": choose one of 0:2 (twin, pid `},
		{"DELETE", "/v1/listeners/storer", "", 409, "listener 1:2 (storer) must stay as it is: it stores the capture"},
		{"PUT", "/v1/listeners/1:2/policy", `{"policy":"lossy"}`, 409, "must stay as it is"},
		{"PUT", "/v1/listeners/alone/policy", "", 400, `send JSON such as {"policy":"lossy"}`},
		{"PUT", "/v1/listeners/alone/policy", "null x", 400, "send JSON"},
		{"PUT", "/v1/listeners/alone/policy", `{"policy":7}`, 400, "send JSON"},
		{"PUT", "/v1/listeners/alone/policy", `{"polcy":"lossy"}`, 400, `unknown field "polcy"`},
		{"PUT", "/v1/listeners/alone/policy", `{"policy":"lossy"}{}`, 400, "more than one value"},
		{"PUT", "/v1/listeners/alone/policy", `{"policy":"sloppy"}`, 400, `policy "sloppy": choose lossless, lossy, or lossless,detach-after=DURATION`},
		{"PUT", "/v1/listeners/alone/policy", `{"policy":"lossless,detach-after=2q"}`, 400, "such as detach-after=2s"},
		{"PUT", "/v1/listeners/alone/policy", `{"policy":"lossy,detach-after=2s"}`, 400, "detach-after is for lossless listeners"},
		{"PUT", "/v1/rules", `{}`, 400, "no rules"},
		{"PUT", "/v1/rules", `{"rules":"(port x) drop"}`, 400, grammar.Error()},
		{"PUT", "/v1/rules", `{"rules":""}`, 400, `no rules: write "none" to keep every frame whole`},
		{"PUT", "/v1/rules", `{"rules":" \n"}`, 400, `no rules: write "none"`},
		{"PUT", "/v1/rules?queue=", `{"rules":"none"}`, 400, `queue "": the port has 2`},
		{"PUT", "/v1/rules?port=", `{"rules":"none"}`, 400, "port: empty"},
		{"PUT", "/v1/rules?queue=2", `{"rules":"none"}`, 400, `queue "2": the port has 2, numbered from 0`},
		{"PUT", "/v1/rules?queue=-1", `{"rules":"none"}`, 400, `queue "-1"`},
		{"PUT", "/v1/listeners/alone/policy", `{"policy":""}`, 400, `policy "": choose lossless`},
		{"PUT", "/v1/rules", `{"rules":"` + strings.Repeat("#", maxBody) + `"}`, 413, "more than 1048576 bytes"},
	} {
		t.Run(fmt.Sprint(c.method, c.path, len(c.body)), func(t *testing.T) {
			w := request(h, c.method, c.path, c.body)
			require.Equal(t, c.status, w.Code, w.Body)
			require.Equal(t, "application/json", w.Header().Get("Content-Type"))
			require.Empty(t, w.Header().Get("Location"))
			var f failure
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &f))
			require.Contains(t, f.Error, c.want)
			require.NotContains(t, f.Error, "\n")
		})
	}
	require.Len(t, h.ports[0].listeners().Attached, 4, "no request that fails changes anything")
	for _, l := range h.ports[0].listeners().Attached {
		require.Equal(t, "lossless", l.Policy)
	}
}

func TestStatusFollowsTheCapture(t *testing.T) {
	e, p := engine(t, 2)
	l := attach(t, e, 1, "reader", stream.Options{})
	h := handle(t, e, Config{})
	get := func() (s Status) {
		w := request(h, http.MethodGet, "/v1/status", "")
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &s))
		return s
	}
	s := get()
	require.Equal(t, Idle, s.State)
	require.True(t, s.Since.IsZero())
	require.Equal(t, "fake", s.Port)
	require.Equal(t, "packet", s.Clock.Policy.String())
	require.NotEmpty(t, s.Clock.Source)
	require.Len(t, s.Queues, 2)
	require.Len(t, s.Queues[1].Listeners, 1)
	require.EqualValues(t, 1<<20, s.Queues[1].BufferBytes)

	require.NoError(t, e.Start())
	p.Queues[1].Put(1000)
	require.Eventually(t, func() bool { return get().Queues[1].Stored == 1000 }, testtime.Deadline, time.Millisecond)
	s = get()
	require.Equal(t, Running, s.State)
	require.WithinDuration(t, time.Now(), s.Since, testtime.Deadline)
	require.EqualValues(t, 1000, s.Account.Wire)
	require.EqualValues(t, 1000*(60+stream.RecordHeader), s.Queues[1].FillBytes, "the reader has released nothing")
	require.Zero(t, s.Lost)
	w := request(h, http.MethodGet, "/v1/ledger", "")
	require.Contains(t, w.Body.String(), `"running": true`)
	require.NotContains(t, w.Body.String(), "balanced", "counters of different moments have no verdict")

	require.NoError(t, e.Stop())
	require.NoError(t, l.Close())
	s = get()
	require.Equal(t, Ended, s.State)
	require.False(t, s.Ended.Before(s.Since))
	require.Empty(t, s.Queues[1].Listeners)
	require.EqualValues(t, 1, s.Queues[1].DetachedTotal)

	w = request(h, http.MethodGet, "/v1/ledger", "")
	var ledger capture.Ledger
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &ledger))
	require.NoError(t, ledger.Balanced())
	require.Contains(t, w.Body.String(), `"balanced": true`)
	require.NotContains(t, w.Body.String(), `"running"`)
	require.Equal(t, "closed", ledger.Queues[1].Listeners[0].DetachReason)
}

func TestListenersHaveTheirLagAndDetachedOnesTheirReason(t *testing.T) {
	e, p := engine(t, 2)
	held := attach(t, e, 0, "held", stream.Options{})
	gone := attach(t, e, 1, "gone", stream.Options{Policy: stream.Lossy})
	require.NoError(t, gone.Close())
	require.NoError(t, e.Start())
	p.Queues[0].Put(500)
	h := handle(t, e, Config{})
	require.Eventually(t, func() bool { return h.ports[0].listeners().Attached[0].Unread == 500 }, testtime.Deadline, time.Millisecond)
	a := h.ports[0].listeners()
	require.Len(t, a.Attached, 1)
	require.Len(t, a.Detached, 1)
	require.EqualValues(t, 1, a.DetachedTotal)
	l := a.Attached[0]
	require.Equal(t, "held", l.Name)
	require.Equal(t, "lossless", l.Policy)
	require.NotZero(t, l.PID)
	require.NotEmpty(t, l.User)
	require.EqualValues(t, 500*(60+stream.RecordHeader), l.LagBytes)
	require.NotZero(t, l.Lag)
	require.EqualValues(t, 500, l.Stored)
	require.Equal(t, "closed", a.Detached[0].DetachReason)
	require.Equal(t, 1, a.Detached[0].Queue)

	packets := make([]stream.Packet, 500)
	for read := 0; read < 500; {
		n, err := held.ReadBatch(t.Context(), packets)
		require.NoError(t, err)
		read += n
	}
	require.NoError(t, held.Close())
	a = h.ports[0].listeners()
	require.Empty(t, a.Attached)
	require.NoError(t, e.Stop())
}

func TestRateIsThatOfTheLastSecond(t *testing.T) {
	e, _ := engine(t, 1)
	at := time.Now().Add(-20 * time.Second)
	done := make(chan struct{})
	close(done)
	r := newRates(e, done)
	r.wait()
	r.kept = nil
	for i := range int(20*time.Second/sampleEvery) + 1 { // the twenty seconds before now
		r.keep(capture.Counters{At: at.Add(time.Duration(i) * sampleEvery)})
		require.LessOrEqual(t, len(r.kept), int(rateOver/sampleEvery)+2)
	}
	rate := r.now()
	require.GreaterOrEqual(t, rate.Over, rateOver)
	require.Zero(t, rate.Received)
}

// Every request gets JSON, and the capture continues.
func FuzzHandler(f *testing.F) {
	for _, path := range []string{
		"/v1/status", "/v1/listeners", "/v1/listeners/0:1", "/v1/listeners/x", "/v1/listeners/x/policy", "/v1/listeners/0:1/policy",
		"/v1/listeners/%2f%00/policy", "/v1/rules", "/v1/rules?queue=0", "/v1/rules?queue=99999999999999999999&queue=%", "/v1/ledger", "/", "*",
		"/v1/../v1/status", "//", "/v1/listeners/", "/v1/listeners/..", "http://a/b", "/v1/status?a;b",
	} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			f.Add(method, path, []byte(`{"policy":"lossless,detach-after=1h","rules":"(port 53) all; 96"}`))
		}
	}
	f.Add("PUT", "/v1/rules", []byte(`{"rules":"(vlan and tcp) drop\n# x\n(net 10.0.0.0/8) headers"}`))
	f.Add("PUT", "/v1/listeners/x/policy", []byte(`{"policy":"lossy"}`))
	f.Add("CONNECT", "/v1/status", []byte{})
	e, _ := engine(f, 1)
	require.NoError(f, e.Start())
	h := handle(f, e, Config{})
	f.Fuzz(func(t *testing.T, method, path string, body []byte) {
		l, err := e.Stream(0).Listen("x", stream.Options{})
		require.NoError(t, err)
		defer func() { require.NoError(t, l.Close()) }()
		r, err := http.NewRequest(method, path, strings.NewReader(string(body)))
		if err != nil {
			t.Skip("no request: ", err)
		}
		r.RequestURI = path
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.True(t, json.Valid(w.Body.Bytes()) || method == http.MethodHead, "%d %q", w.Code, w.Body)
		if w.Code != http.StatusOK {
			var f failure
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &f))
			require.NotEmpty(t, f.Error)
			require.Contains(t, []int{400, 404, 405, 409, 413}, w.Code, f.Error)
		}
		require.Equal(t, http.StatusOK, request(h, http.MethodGet, "/v1/status", "").Code)
	})
}
