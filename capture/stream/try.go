package stream

import (
	"context"
	"errors"
)

// errNothingYet is that a reading call which does not wait would have to.
var errNothingYet = errors.New("no frame yet")

// TryReadBatch is ReadBatch that does not wait: it returns 0 if no frame is there yet.
// A reader of several listeners calls it for each in turn.
func (l *Listener) TryReadBatch(packets []Packet) (int, error) {
	if !l.enter() {
		return 0, ErrClosed
	}
	l.noWait = true
	n, err := l.readBatch(context.Background(), packets)
	l.noWait = false
	l.deliveringAll()
	l.exit()
	if err == errNothingYet {
		return 0, nil
	}
	return n, err
}
