package clock

// Ticks reads the time-stamp counter. The processor may reorder the read by a few
// nanoseconds; an ordered read costs twice as much.
func Ticks() uint64

const counterName = "tsc"

// cpuid executes CPUID for a leaf and returns EAX and EDX.
func cpuid(leaf uint32) (eax, edx uint32)

// invariant reports whether the counter ticks at a constant rate in all power
// states: CPUID leaf 80000007H, EDX bit 8.
func invariant() bool {
	const power, invariantTSC = 0x80000007, 1 << 8
	if highest, _ := cpuid(0x80000000); highest < power {
		return false
	}
	_, edx := cpuid(power)
	return edx&invariantTSC != 0
}
