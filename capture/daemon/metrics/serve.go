package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	requestTime = 10 * time.Second // for a client to send a request, and to take its answer
	idleTime    = 2 * time.Minute  // more than the time between scrapes
	closeTime   = 2 * time.Second  // for which Close waits for scrapes under way
	maxHeader   = 16 << 10         // bytes
	maxScrapes  = 4                // at once; further ones are refused
)

// Server serves a collector to Prometheus.
type Server struct {
	http   *http.Server
	listen net.Listener
	served chan error
	once   sync.Once
	err    error
}

// Serve serves c, and what Go and the kernel know of this process, at
// http://address/metrics. Whoever reaches the address may read it. The server is
// to be closed before the engines.
func Serve(address string, c *Collector) (*Server, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		if e := (*net.OpError)(nil); errors.As(err, &e) {
			err = e.Err
		}
		return nil, fmt.Errorf("serve metrics at %s: %w", address, err)
	}
	s := &Server{listen: l, served: make(chan error, 1), http: &http.Server{
		Handler:           Handler(c),
		ReadHeaderTimeout: requestTime,
		ReadTimeout:       requestTime,
		WriteTimeout:      requestTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(io.Discard, "", 0), // of clients that send nonsense: they are told
	}}
	go func() { s.served <- s.http.Serve(l) }()
	return s, nil
}

// Handler answers GET /metrics.
func Handler(c *Collector) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, Timeout: requestTime}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ixcap: the metrics are at /metrics\n")
	})
	return mux
}

// Address is where the server listens, its port included if that was left open.
func (s *Server) Address() string { return s.listen.Addr().String() }

// Close ends the service. Scrapes under way are waited for, for two seconds.
func (s *Server) Close() error {
	s.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTime)
		defer cancel()
		err := s.http.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = s.http.Close()
		}
		if served := <-s.served; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		s.err = err
	})
	return s.err
}
