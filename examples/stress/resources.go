package main

import (
	"bytes"
	"fmt"
	"os"
)

// resources are kernel resources of this process.
type resources struct{ descriptors, mappings int }

// countResources counts descriptors and mappings of ixcap's memory.
func countResources() (h resources, err error) {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return h, err
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return h, err
	}
	return resources{len(fds), bytes.Count(maps, []byte("ixcap-"))}, nil
}

// leaked returns an error if there are more resources than before.
func (h resources) leaked(before resources) error {
	// The Go runtime opens some descriptors late and keeps them.
	const runtime = 4
	if h.descriptors > before.descriptors+runtime || h.mappings > before.mappings {
		return fmt.Errorf("resources leaked: %d descriptors and %d mappings, %d and %d before",
			h.descriptors, h.mappings, before.descriptors, before.mappings)
	}
	return nil
}
