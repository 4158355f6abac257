package transmit

import "time"

// SetStuckTime changes how long a device may report no frame as sent, until undo is called.
func SetStuckTime(d time.Duration) (undo func()) {
	before := stuckTime
	stuckTime = d
	return func() { stuckTime = before }
}
