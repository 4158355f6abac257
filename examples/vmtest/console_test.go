//go:build vmtest

package vmtest

import (
	"fmt"
	"regexp"
)

// kernelError matches lines of the console that report an error of the kernel.
var kernelError = regexp.MustCompile(`Kernel panic|\bBUG: |\bOops\b|WARNING: |general protection fault|` +
	`unable to handle|cut here|INFO: task .* blocked|Out of memory|UBSAN:|KASAN:|init: `)

// checkConsole checks a line of the console.
func (v *vm) checkConsole(line string) {
	if kernelError.MatchString(line) {
		v.markBroken(fmt.Errorf("error of the VM's kernel: %s", line))
	}
}
