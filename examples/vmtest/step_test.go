//go:build vmtest

package vmtest

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// cases counts the cases for the summary.
var cases struct {
	sync.Mutex
	passed, failed, skipped int
	failures                []string
	hung                    []string // boots that were started once more
}

// step runs a case and prints its result and time.
func step(t *testing.T, name string, f func(t *testing.T)) bool {
	t.Helper()
	title := caseTitle(t.Name(), name)
	start := time.Now()
	var ran, skipped bool
	ok := t.Run(name, func(t *testing.T) {
		ran = true
		defer func() { skipped = t.Skipped() }()
		f(t)
	})
	if ran { // RUN may exclude cases
		report(title, ok, skipped, time.Since(start))
	}
	return ok
}

// report counts a case and prints its line.
func report(title string, ok, skipped bool, took time.Duration) {
	result := "ok  "
	cases.Lock()
	defer cases.Unlock()
	switch {
	case !ok:
		result = "FAIL"
		cases.failed++
		cases.failures = append(cases.failures, title)
	case skipped:
		result = "skip"
		cases.skipped++
	default:
		cases.passed++
	}
	fmt.Printf("%s  %6.1f s  %s\n", result, took.Seconds(), title)
}

// reportRestart prints that a VM whose boot hung is started once more, and notes it for the
// summary.
func reportRestart(title string) {
	cases.Lock()
	defer cases.Unlock()
	cases.hung = append(cases.hung, title)
	fmt.Printf("%s: the VM is started once more\n", title)
}

var words = regexp.MustCompile(`([a-z0-9])([A-Z])`)

// caseTitle returns "ixgbe 6.1: ping" for the case ping of the test TestIxgbe/6.1.
func caseTitle(test, name string) string {
	title := words.ReplaceAllString(strings.TrimPrefix(test, "Test"), "$1 $2")
	first, rest, _ := strings.Cut(title, "/")
	title = strings.ToLower(first)
	if rest != "" {
		title += " " + strings.NewReplacer("/", " ", "_", " ").Replace(rest)
	}
	return title + ": " + name
}

// summary prints the end of the run and returns its exit status.
func summary(status int, took time.Duration) int {
	cases.Lock()
	defer cases.Unlock()
	for _, title := range cases.hung {
		fmt.Println("hung, started once more:", title)
	}
	for _, f := range cases.failures {
		fmt.Println("failed:", f)
	}
	fmt.Printf("%d cases, %d failed, %d skipped, %.0f s in all\n",
		cases.passed+cases.failed+cases.skipped, cases.failed, cases.skipped, took.Seconds())
	if status == 0 && cases.passed+cases.failed == 0 {
		fmt.Println("no case ran: does RUN match one?")
		return 1
	}
	return status
}
