package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"sync"

	"github.com/ixcap/ixcap/capture"
)

const maxBody = 1 << 20 // bytes of a request

// handler serves requests about captures.
type handler struct {
	ports []*controlled
	mux   *http.ServeMux
	done  chan struct{} // closed by close
	once  sync.Once     // for done
}

// controlled is one capture.
type controlled struct {
	Port
	engine *capture.Engine
	config Config
	rates  *rates
}

// newHandler returns a handler for ports. It computes rates until it is closed.
func newHandler(ports []Port, cfg Config) *handler {
	h := &handler{mux: http.NewServeMux(), done: make(chan struct{})}
	for _, p := range ports {
		h.ports = append(h.ports, &controlled{Port: p, engine: p.Engine, config: cfg, rates: newRates(p.Engine, h.done)})
	}
	for _, r := range []struct {
		pattern string
		serve   func(*controlled, *http.Request) (any, error)
	}{
		{"GET /v1/status", (*controlled).status},
		{"GET /v1/listeners", (*controlled).listListeners},
		{"GET /v1/listeners/{listener}", (*controlled).listener},
		{"DELETE /v1/listeners/{listener}", (*controlled).detach},
		{"PUT /v1/listeners/{listener}/policy", (*controlled).setPolicy},
		{"GET /v1/rules", (*controlled).getRules},
		{"PUT /v1/rules", (*controlled).setRules},
		{"GET /v1/filters", (*controlled).getFilters},
		{"PUT /v1/filters", (*controlled).setFilters},
		{"GET /v1/ledger", (*controlled).ledger},
		{"GET /v1/module", (*controlled).module},
		{"POST /v1/blink", (*controlled).blink},
		{"GET /v1/counters", (*controlled).counters},
	} {
		h.handle(r.pattern, func(q *http.Request) (any, error) {
			p, err := h.one(q)
			if err != nil {
				return nil, err
			}
			return r.serve(p, q)
		})
	}
	h.handle("GET /v1/ports", h.list)
	h.handle("POST /v1/rotate", h.rotate)
	return h
}

// handle registers serve for a pattern.
func (h *handler) handle(pattern string, serve func(*http.Request) (any, error)) {
	h.mux.HandleFunc(pattern, func(w http.ResponseWriter, q *http.Request) {
		q.Body = http.MaxBytesReader(w, q.Body, maxBody)
		answer, err := serve(q)
		reply(w, answer, err)
	})
}

// close stops the goroutines that compute rates, and waits for them.
func (h *handler) close() {
	h.once.Do(func() { close(h.done) })
	for _, p := range h.ports {
		p.rates.wait()
	}
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	direct := r.URL.EscapedPath()
	if _, pattern := h.mux.Handler(r); pattern != "" && path.Clean(direct) == direct {
		h.mux.ServeHTTP(w, r)
		return
	}
	// The mux answers in plain text for an unknown path or method and for a path
	// that is not clean. Its status and headers count here.
	plain := &discard{header: w.Header()}
	h.mux.ServeHTTP(plain, r)
	switch plain.status {
	case http.StatusMethodNotAllowed:
		reply(w, nil, refuse(plain.status, "%s has no method %s: use %s", r.URL.Path, r.Method, w.Header().Get("Allow")))
	default:
		w.Header().Del("Location")
		reply(w, nil, refuse(http.StatusNotFound, "there is no %s: the paths are /v1/status, /v1/listeners, /v1/rules, /v1/filters, /v1/ledger, /v1/counters, /v1/module, /v1/blink, /v1/ports and /v1/rotate", r.URL.Path))
	}
}

// discard is a ResponseWriter that keeps status and headers only.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

// refusal is an error with its HTTP status.
type refusal struct {
	status int
	err    error
}

func (r refusal) Error() string { return r.err.Error() }
func (r refusal) Unwrap() error { return r.err }

func refuse(status int, format string, args ...any) error {
	return refusal{status, fmt.Errorf(format, args...)}
}

// reply writes an answer, or the error of a request.
func reply(w http.ResponseWriter, answer any, err error) {
	status := http.StatusOK
	if err != nil {
		status = http.StatusInternalServerError
		if r := (refusal{}); errors.As(err, &r) {
			status = r.status
		}
		answer = failure{strings.ReplaceAll(err.Error(), "\n", "; ")}
	}
	body, err := json.MarshalIndent(answer, "", "  ")
	if err != nil { // a value that JSON does not have
		status, body = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be written as JSON"}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the client may have closed the connection
}

// decode parses a request's body: one JSON object without unknown keys. example is
// part of the error.
func decode(r *http.Request, into any, example string) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil && d.More() {
		err = errors.New("more than one value")
	}
	if tooLong := new(http.MaxBytesError); errors.As(err, &tooLong) {
		return refuse(http.StatusRequestEntityTooLarge, "the body has more than %d bytes: send less", tooLong.Limit)
	}
	if err != nil {
		return refuse(http.StatusBadRequest, "send JSON such as %s: %w", example, err)
	}
	return nil
}
