package capture

import "time"

// Times are when the port began to let frames in and when the last of them had
// been taken; zero while that is still to come.
func (e *Engine) Times() (began, ended time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.began, e.ended
}
