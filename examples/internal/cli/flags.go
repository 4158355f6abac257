package cli

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"github.com/ixcap/ixcap/hugepage"
)

// Pages is a page size, as a flag; its zero value leaves the choice open.
type Pages struct{ Size hugepage.Size }

// String implements flag.Value.
func (p *Pages) String() string {
	switch p.Size {
	case hugepage.Ordinary:
		return "ordinary"
	case hugepage.Size2M:
		return "2MiB"
	case hugepage.Size1G:
		return "1GiB"
	}
	return ""
}

// Set implements flag.Value.
func (p *Pages) Set(text string) error {
	for _, size := range []hugepage.Size{hugepage.Ordinary, hugepage.Size2M, hugepage.Size1G} {
		if q := (Pages{size}); q.String() == text {
			*p = q
			return nil
		}
	}
	return fmt.Errorf("pages %q: want 2MiB, 1GiB or ordinary", text)
}

// Cores is a list of processor cores, as a flag: "2,3".
type Cores []int

// String implements flag.Value.
func (c *Cores) String() string {
	words := make([]string, len(*c))
	for i, n := range *c {
		words[i] = strconv.Itoa(n)
	}
	return strings.Join(words, ",")
}

// Set implements flag.Value.
func (c *Cores) Set(text string) error {
	*c = nil
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 0 {
			return fmt.Errorf("core %q: want numbers from 0, such as 2,3 (this machine has %d)", word, runtime.NumCPU())
		}
		*c = append(*c, n)
	}
	return nil
}
