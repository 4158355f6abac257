package openfiles

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Of returns the processes with an open file whose link in /proc/PID/fd is one of targets,
// each once, such as "process 4711 (hpcapdd)" or "this process". The first own files of
// this process do not count. proc is the folder of proc(5).
func Of(proc string, own int, targets ...string) (found []string) {
	links, _ := filepath.Glob(filepath.Join(proc, "[0-9]*/fd/*"))
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || !slices.Contains(targets, target) {
			continue
		}
		dir := filepath.Dir(filepath.Dir(link))
		name, _ := os.ReadFile(filepath.Join(dir, "comm"))
		who := fmt.Sprintf("process %s (%s)", filepath.Base(dir), strings.TrimSpace(string(name)))
		if filepath.Base(dir) == strconv.Itoa(os.Getpid()) {
			if own--; own >= 0 {
				continue
			}
			who = "this process"
		}
		if !slices.Contains(found, who) {
			found = append(found, who)
		}
	}
	return found
}
