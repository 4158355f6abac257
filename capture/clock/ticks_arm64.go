package clock

// Ticks reads the virtual counter of the generic timer.
func Ticks() uint64

const counterName = "cntvct"

// invariant: the generic timer ticks at a constant rate by definition.
func invariant() bool { return true }
