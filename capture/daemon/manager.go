package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// States of sd_notify(3).
const (
	ready    = systemd.SdNotifyReady + "\nSTATUS=capturing"
	waiting  = systemd.SdNotifyReady + "\nSTATUS=waiting for listeners of other programs"
	stopping = systemd.SdNotifyStopping + "\nSTATUS=storing the frames received"
)

// reloading is the state during a reload, with the time of its begin.
func reloading() string {
	return strings.TrimSpace(systemd.SdNotifyReloading + "\n" + systemd.SdNotifyMonotonicUsec())
}

const (
	sendTimeout = time.Second // of one attempt to send a state
	maxStates   = 16          // that wait to be sent
)

// manager notifies the service manager behind $NOTIFY_SOCKET, where there is one. A
// service manager that does not read delays its states and nothing else.
type manager struct {
	log    *slog.Logger
	states chan string // to be sent, in their order

	mu    sync.Mutex
	state string // the last one
}

func newManager(log *slog.Logger) *manager {
	return &manager{log: log, states: make(chan string, maxStates)}
}

// notify queues a state, unless it was the last one or the daemon is stopping. It does not
// block.
func (m *manager) notify(state string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state == state || m.state == stopping {
		return
	}
	select {
	case m.states <- state:
		m.state = state
	default: // nothing is read, or there is no service manager
	}
}

// run sends the states until ctx is done, then those that wait. It ends when the service
// manager cannot be reached.
func (m *manager) run(ctx context.Context) {
	for {
		var state string
		select {
		case state = <-m.states:
		case <-ctx.Done():
			select {
			case state = <-m.states:
			default:
				return
			}
		}
		if !m.send(ctx, state) {
			return
		}
	}
}

// send sends a state. While the socket has no room it tries again until ctx is done.
func (m *manager) send(ctx context.Context, state string) bool {
	for full := false; ; full = true {
		err := sendState(state)
		if err == nil {
			return true
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			m.log.Warn("notify the service manager: " + err.Error())
			return false
		}
		if !full {
			m.log.Warn(fmt.Sprintf("notify the service manager: it has not read its socket for %v", sendTimeout))
		}
		if ctx.Err() != nil {
			return false
		}
	}
}

// sendState sends a state to $NOTIFY_SOCKET, where it is set. It gives up after
// sendTimeout.
func sendState(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	_, err = c.Write([]byte(state))
	return err
}
