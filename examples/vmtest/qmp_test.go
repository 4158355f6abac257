//go:build vmtest

package vmtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"
)

// qmp is QEMU's control channel: JSON messages, one reply to each command in
// order, and events between them.
type qmp struct {
	mu     sync.Mutex // one command at a time
	conn   net.Conn
	lines  *json.Decoder
	events []qmpEvent
}

type qmpEvent struct {
	Name string          `json:"event"`
	Data json.RawMessage `json:"data"`
}

const qmpDeadline = 30 * time.Second

// newQMP starts QMP on a new connection from QEMU.
func newQMP(conn net.Conn) (*qmp, error) {
	q := &qmp{conn: conn, lines: json.NewDecoder(conn)}
	if err := conn.SetReadDeadline(time.Now().Add(qmpDeadline)); err != nil {
		return nil, err
	}
	var greeting struct {
		QMP json.RawMessage
	}
	if err := q.lines.Decode(&greeting); err != nil || greeting.QMP == nil {
		return nil, fmt.Errorf("QMP: no greeting from QEMU: %w", err)
	}
	_, err := q.call("qmp_capabilities", nil)
	return q, err
}

func (q *qmp) call(command string, args map[string]any) (json.RawMessage, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.conn.SetDeadline(time.Now().Add(qmpDeadline)); err != nil {
		return nil, err
	}
	request := map[string]any{"execute": command}
	if args != nil {
		request["arguments"] = args
	}
	if err := json.NewEncoder(q.conn).Encode(request); err != nil {
		return nil, fmt.Errorf("QMP %s: %w", command, err)
	}
	for {
		var reply struct {
			qmpEvent
			Return json.RawMessage `json:"return"`
			Error  *struct{ Desc string }
		}
		if err := q.lines.Decode(&reply); err != nil {
			return nil, fmt.Errorf("QMP %s: %w", command, err)
		}
		switch {
		case reply.Name != "":
			q.events = append(q.events, reply.qmpEvent)
		case reply.Error != nil:
			return nil, fmt.Errorf("QMP %s: %w", command, errors.New(reply.Error.Desc))
		default:
			return reply.Return, nil
		}
	}
}

// qmp executes a command of QEMU's control channel.
func (v *vm) qmp(t *testing.T, command string, args map[string]any) json.RawMessage {
	t.Helper()
	out, err := v.control.call(command, args)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
