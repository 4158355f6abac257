package httpserver

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// grace is how long a connection without a request, or whose answer is not read, is
	// kept in spite of others that wait for it.
	grace = 100 * time.Millisecond
	// retry is the time between two tries to make room.
	retry = 10 * time.Millisecond
)

// clients accepts a limited number of connections at a time. When there is no room it
// closes the connection that has been without a request under way for longest: a client
// that is silent, or does not read, keeps no other out, and costs no descriptor.
type clients struct {
	net.Listener
	most int
	done chan struct{}
	once sync.Once

	mu   sync.Mutex
	open map[*client]time.Time // since when it has been without a request; zero: one is under way
}

// client is one connection.
type client struct {
	net.Conn
	of *clients
}

func newClients(l net.Listener, most int) *clients {
	return &clients{Listener: l, most: most, done: make(chan struct{}), open: map[*client]time.Time{}}
}

// Accept returns the next connection once there is room for it.
func (l *clients) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &client{conn, l}
	for !l.admit(c) {
		select {
		case <-l.done:
			_ = conn.Close()
			return nil, net.ErrClosed
		case <-time.After(retry):
		}
	}
	return c, nil
}

// admit counts a connection if there is room, else closes another one.
func (l *clients) admit(c *client) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) < l.most {
		l.open[c] = time.Now()
		return true
	}
	var oldest *client
	for other, since := range l.open {
		if !since.IsZero() && (oldest == nil || since.Before(l.open[oldest])) {
			oldest = other
		}
	}
	if oldest != nil && time.Since(l.open[oldest]) > grace {
		delete(l.open, oldest)
		_ = oldest.Conn.Close()
	}
	return false
}

// Close closes the listener.
func (l *clients) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

// Close closes the connection, and makes room for another one.
func (c *client) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// busy records whether a request of the connection is under way.
func (c *client) busy(under bool) {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	if _, open := c.of.open[c]; !open {
		return
	}
	since := time.Now()
	if under {
		since = time.Time{}
	}
	c.of.open[c] = since
}

type clientKey struct{}

// handler serves requests and records for how long.
func handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := r.Context().Value(clientKey{}).(*client)
		c.busy(true)
		defer c.busy(false)
		next.ServeHTTP(w, r)
	})
}

// connContext makes the context of a connection's requests.
func connContext(next func(context.Context, net.Conn) context.Context) func(context.Context, net.Conn) context.Context {
	return func(ctx context.Context, c net.Conn) context.Context {
		if next != nil {
			ctx = next(ctx, c.(*client).Conn)
		}
		return context.WithValue(ctx, clientKey{}, c)
	}
}
