package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/daemon/internal/httpserver"
	"github.com/ixcap/ixcap/capture/units"
)

// maxAnswer is the most bytes of an answer. That of 16 queues with as many listeners
// and rules as possible has a few MiB.
const maxAnswer = 64 << 20

// Client sends requests to a Server. Its methods may be called from any goroutine.
type Client struct {
	path string
	port string
	http http.Client
}

// NewClient returns a client of the socket at path. It connects with the first
// request.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return &Client{path: path, http: http.Client{
		Transport: &http.Transport{DialContext: dial, MaxIdleConns: 1, IdleConnTimeout: idleTime / 2},
		Timeout:   2 * httpserver.RequestTimeout,
	}}
}

// Port returns a client of one of several ports.
func (c *Client) Port(name string) *Client {
	one := *c
	one.port = name
	return &one
}

// Close closes the connection that is kept between requests.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Refused is the error of a request that the server refuses.
type Refused struct {
	Code int // HTTP status
	Text string
}

func (r *Refused) Error() string { return r.Text }

// Status returns the state of the capture.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.do(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// Listeners returns the attached listeners and the last detached.
func (c *Client) Listeners(ctx context.Context) (l Listeners, err error) {
	return l, c.do(ctx, http.MethodGet, "/v1/listeners", nil, &l)
}

// Detach detaches a listener, QUEUE:ID or its name, and returns its last counters.
func (c *Client) Detach(ctx context.Context, listener string) (l Listener, err error) {
	path, err := listenerPath(listener)
	if err != nil {
		return l, err
	}
	return l, c.do(ctx, http.MethodDelete, path, nil, &l)
}

// SetPolicy changes the policy of a listener, QUEUE:ID or its name; see ParsePolicy.
func (c *Client) SetPolicy(ctx context.Context, listener, policy string) (l Listener, err error) {
	path, err := listenerPath(listener)
	if err != nil {
		return l, err
	}
	return l, c.do(ctx, http.MethodPut, path+"/policy", policyRequest{policy}, &l)
}

// Rules returns the rules of each queue.
func (c *Client) Rules(ctx context.Context) (f Rules, err error) {
	return f, c.do(ctx, http.MethodGet, "/v1/rules", nil, &f)
}

// SetRules changes the rules of a queue, or of all with capture.AllQueues. "none"
// keeps every frame whole.
func (c *Client) SetRules(ctx context.Context, queue int, rules string) (f Rules, err error) {
	path := "/v1/rules"
	if queue != capture.AllQueues {
		path += "?queue=" + strconv.Itoa(queue)
	}
	return f, c.do(ctx, http.MethodPut, path, rulesRequest{&rules}, &f)
}

// Filters returns the filters of the port itself.
func (c *Client) Filters(ctx context.Context) (f Filters, err error) {
	return f, c.do(ctx, http.MethodGet, "/v1/filters", nil, &f)
}

// SetFilters replaces the filters of the port itself. "none" removes them.
func (c *Client) SetFilters(ctx context.Context, filters string) (f Filters, err error) {
	return f, c.do(ctx, http.MethodPut, "/v1/filters", filtersRequest{&filters}, &f)
}

// Ports returns the ports that are captured.
func (c *Client) Ports(ctx context.Context) (p Ports, err error) {
	return p, c.do(ctx, http.MethodGet, "/v1/ports", nil, &p)
}

// Rotate begins new files, and returns the ports that store.
func (c *Client) Rotate(ctx context.Context) (p Ports, err error) {
	return p, c.do(ctx, http.MethodPost, "/v1/rotate", nil, &p)
}

// Module returns the module of a port, and what it measures.
func (c *Client) Module(ctx context.Context) (m Module, err error) {
	return m, c.do(ctx, http.MethodGet, "/v1/module", nil, &m)
}

// Blink makes the LED of a port blink for a time, at most an hour.
func (c *Client) Blink(ctx context.Context, d time.Duration) (p PortName, err error) {
	return p, c.do(ctx, http.MethodPost, "/v1/blink", blinkRequest{units.Duration(d)}, &p)
}

// Counters returns the counters of a port's device.
func (c *Client) Counters(ctx context.Context) (a Counters, err error) {
	return a, c.do(ctx, http.MethodGet, "/v1/counters", nil, &a)
}

// Ledger returns the ledger.
func (c *Client) Ledger(ctx context.Context) (l capture.Ledger, err error) {
	return l, c.do(ctx, http.MethodGet, "/v1/ledger", nil, &l)
}

// listenerPath is the path of a listener. Words with a meaning in paths are refused.
func listenerPath(listener string) (string, error) {
	switch listener {
	case "", ".", "..":
		return "", fmt.Errorf("listener %q: must be a name or QUEUE:ID", listener)
	}
	return "/v1/listeners/" + url.PathEscape(listener), nil
}

// do sends a request and decodes the answer.
func (c *Client) do(ctx context.Context, method, path string, send, into any) error {
	var body io.Reader
	if send != nil {
		b, err := json.Marshal(send)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	if c.port != "" {
		separator := "?"
		if strings.Contains(path, separator) {
			separator = "&"
		}
		path += separator + "port=" + url.QueryEscape(c.port)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://ixcap"+path, body)
	if err != nil {
		return err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return c.unreachable(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return c.unreachable(err)
	case len(text) > maxAnswer:
		return fmt.Errorf("%s: the answer has more than %d bytes", c.path, maxAnswer)
	case answer.StatusCode != http.StatusOK:
		var f failure
		if json.Unmarshal(text, &f) != nil || f.Error == "" {
			return fmt.Errorf("%s: %s, which is not the answer of a capture: another program serves this socket", c.path, answer.Status)
		}
		return &Refused{answer.StatusCode, f.Error}
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: not the answer of a capture: %w", c.path, err)
	}
	return nil
}

// unreachable explains why no capture could be reached.
func (c *Client) unreachable(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOTSOCK):
		return fmt.Errorf("no capture is served at %s: start one, such as hpcapdd --share DIR", c.path)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s: permission denied: the capture's user alone may control it. Run this program as that user, or as root", c.path)
	}
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
		if u.Timeout() {
			return fmt.Errorf("%s: no answer within %v", c.path, 2*httpserver.RequestTimeout/time.Second*time.Second)
		}
	}
	return fmt.Errorf("%s: %s", c.path, strings.TrimSuffix(err.Error(), "\n"))
}
