package metrics

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ixcap/ixcap/capture/daemon/internal/httpserver"
)

const (
	idleTime   = 2 * time.Minute // more than the time between scrapes
	maxScrapes = 4               // at a time; further ones are refused
)

// Server serves a Collector to Prometheus.
type Server struct {
	http   *httpserver.Server
	listen net.Listener
}

// Serve serves c, and the metrics of Go and of this process, at
// http://address/metrics. There is no access control. Close the Server before the
// engines.
func Serve(address string, c *Collector) (*Server, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		if e := (*net.OpError)(nil); errors.As(err, &e) {
			err = e.Err
		}
		return nil, fmt.Errorf("serve metrics at %s: %w", address, err)
	}
	return &Server{listen: l, http: httpserver.Serve(l, httpserver.Config{Handler: Handler(c), IdleTimeout: idleTime})}, nil
}

// Handler answers GET /metrics.
func Handler(c *Collector) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, Timeout: httpserver.RequestTimeout}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ixcap: the metrics are at /metrics\n")
	})
	return mux
}

// Address is where the server listens, with the port that the kernel chose for 0.
func (s *Server) Address() string { return s.listen.Addr().String() }

// Close ends the service. It waits for scrapes under way, at most 2 s. Further
// calls return the same error.
func (s *Server) Close() error { return s.http.Close() }
