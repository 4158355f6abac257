package daemon

import (
	"log/slog"
	"strings"
	"sync"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// States of sd_notify(3).
const (
	ready    = systemd.SdNotifyReady + "\nSTATUS=capturing"
	stopping = systemd.SdNotifyStopping + "\nSTATUS=storing the frames received"
)

// reloading is the state during a reload, with the time of its begin.
func reloading() string {
	return strings.TrimSpace(systemd.SdNotifyReloading + "\n" + systemd.SdNotifyMonotonicUsec())
}

// manager notifies the service manager behind $NOTIFY_SOCKET, where there is one.
type manager struct {
	log    *slog.Logger
	mu     sync.Mutex
	failed bool // it could not be reached: no further attempt
	state  string
}

// notify sends a state, unless it was the last one sent or the daemon is stopping.
// The first failure is logged, and ends the notifications.
func (m *manager) notify(state string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed || m.state == state || m.state == stopping {
		return
	}
	m.state = state
	if _, err := systemd.SdNotify(false, state); err != nil {
		m.failed = true
		m.log.Warn("notify the service manager: " + err.Error())
	}
}
