//go:build vmtest

package vmtest

import (
	"fmt"
	"regexp"
)

// trouble is what a kernel prints on its console when something is wrong with
// it, whatever the test is about.
var trouble = regexp.MustCompile(`Kernel panic|\bBUG: |\bOops\b|WARNING: |general protection fault|` +
	`unable to handle|cut here|INFO: task .* blocked|Out of memory|UBSAN:|KASAN:|init: `)

// watch looks at each line of the console. The lines after the first bad one
// say more, so the test is told a moment later; see breaks.
func (g *guest) watch(line string) {
	if trouble.MatchString(line) {
		g.breaks(fmt.Errorf("the guest's kernel is in trouble: %s", line))
	}
}
