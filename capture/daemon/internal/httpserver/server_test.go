package httpserver_test

import (
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/daemon/internal/httpserver"
)

func TestCloseWaitsForRequestsButNotForever(t *testing.T) {
	for name, c := range map[string]struct {
		takes time.Duration
		ok    bool
	}{"short": {100 * time.Millisecond, true}, "long": {time.Minute, false}} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			begun := make(chan struct{})
			s := httpserver.Serve(l, httpserver.Config{IdleTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				close(begun)
				select {
				case <-time.After(c.takes):
				case <-r.Context().Done():
				}
			})})
			got := make(chan error, 1)
			go func() {
				a, err := http.Get("http://" + l.Addr().String())
				if err == nil {
					err = a.Body.Close()
				}
				got <- err
			}()
			<-begun
			require.NoError(t, s.Close())
			require.Equal(t, c.ok, <-got == nil)
			require.NoError(t, s.Close(), "again")
			_, err = net.Dial("tcp", l.Addr().String())
			require.Error(t, err)
		})
	}
}

// broken is a listener that accepts nothing.
type broken struct{ net.Listener }

var errBroken = errors.New("broken")

func (broken) Accept() (net.Conn, error) { return nil, errBroken }

func TestCloseReturnsWhyServingEnded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := httpserver.Serve(broken{l}, httpserver.Config{Handler: http.NotFoundHandler()})
	time.Sleep(50 * time.Millisecond) // Serve has returned, or Close hides its error
	require.ErrorIs(t, s.Close(), errBroken)
}
