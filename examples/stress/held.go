package main

import (
	"bytes"
	"fmt"
	"os"
)

// held is what this process holds of the kernel's.
type held struct{ descriptors, mappings int }

// countHeld counts the descriptors, and the mappings of ixcap's memory.
func countHeld() (h held, err error) {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return h, err
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return h, err
	}
	return held{len(fds), bytes.Count(maps, []byte("ixcap-"))}, nil
}

// more is an error if h holds more than before.
func (h held) more(before held) error {
	// A descriptor or two may belong to the Go runtime, which opens them late and keeps them.
	const runtime = 4
	if h.descriptors > before.descriptors+runtime || h.mappings > before.mappings {
		return fmt.Errorf("%d descriptors are open and %d mappings left, before there were %d and %d",
			h.descriptors, h.mappings, before.descriptors, before.mappings)
	}
	return nil
}
