package sim

// ticks reads the time-stamp counter: time.Now takes as long as all that the
// model does for a short frame.
func ticks() uint64
