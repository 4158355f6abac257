package httpserver_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/daemon/internal/httpserver"
	"github.com/ixcap/ixcap/internal/testtime"
)

// Clients that are silent, or do not read what they asked for, neither keep others out
// nor use up the descriptors that files need.
func TestSilentClientsDelayNoOne(t *testing.T) {
	for name, request := range map[string]string{
		"nothing":              "",
		"part of a request":    "GET / HTTP/1.1\r\nHo",
		"a request":            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"without the body":     "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
		"many, answers unread": strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 100),
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			s := httpserver.Serve(l, httpserver.Config{IdleTimeout: time.Hour, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "answer")
			})})
			defer s.Close()
			before := descriptors(t)
			for range 100 {
				c, err := net.Dial("tcp", l.Addr().String())
				require.NoError(t, err)
				defer c.Close()
				_, err = io.WriteString(c, request)
				require.NoError(t, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), testtime.Deadline)
			defer cancel()
			began := time.Now()
			q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.Addr().String(), nil)
			require.NoError(t, err)
			a, err := (&http.Transport{}).RoundTrip(q)
			require.NoError(t, err)
			body, err := io.ReadAll(a.Body)
			require.NoError(t, err)
			require.NoError(t, a.Body.Close())
			require.Equal(t, "answer", string(body))
			require.Less(t, time.Since(began), httpserver.RequestTimeout/2)
			require.Less(t, descriptors(t)-before-100, 50, "of the server, without those of the clients here")
		})
	}
}

// descriptors is the number of descriptors of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(all)
}

// A request under way is not cut off for the sake of others.
func TestRequestsUnderWayAreKept(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	begun, end := make(chan struct{}), make(chan struct{})
	s := httpserver.Serve(l, httpserver.Config{IdleTimeout: time.Hour, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-end
		_, _ = io.WriteString(w, "answer")
	})})
	defer s.Close()
	got := make(chan string, 1)
	go func() {
		a, err := http.Get("http://" + l.Addr().String())
		if err != nil {
			got <- err.Error()
			return
		}
		defer a.Body.Close()
		body, _ := io.ReadAll(a.Body)
		got <- string(body)
	}()
	<-begun
	for range 100 {
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		defer c.Close()
	}
	time.Sleep(500 * time.Millisecond)
	close(end)
	require.Equal(t, "answer", <-got)
}
