package sim

// ticks reads the time-stamp counter. time.Now takes as long as the model's work for a
// short frame.
func ticks() uint64
