package query

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// queueSocket matches the socket of a queue: queue0.sock, or eth2-queue0.sock if the
// capture has several ports.
var queueSocket = regexp.MustCompile(`^(?:(.+)-)?queue([0-9]+)\.sock$`)

// Sockets returns the sockets of the streams that a capture shares in a directory
// (hpcapdd --share), by port and queue.
func Sockets(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	type socket struct {
		port, path string
		queue      int
	}
	var found []socket
	for _, e := range entries {
		m := queueSocket.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		if queue, err := strconv.Atoi(m[2]); err == nil {
			found = append(found, socket{m[1], filepath.Join(dir, e.Name()), queue})
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: no capture shares its queues there (hpcapdd --share)", dir)
	}
	slices.SortFunc(found, func(a, b socket) int {
		return cmp.Or(cmp.Compare(a.port, b.port), cmp.Compare(a.queue, b.queue))
	})
	paths := make([]string, len(found))
	for i, s := range found {
		paths[i] = s.path
	}
	return paths, nil
}
