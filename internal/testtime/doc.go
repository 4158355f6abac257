// Package testtime has the times that tests share.
//
//	busy machine ─► Deadline ─► require.Eventually, contexts of programs
package testtime

import "time"

// Deadline bounds waits for what must happen at some time on a slow and busy machine.
const Deadline = 60 * time.Second
