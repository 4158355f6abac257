package topology

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseList parses a list of cores in the kernel's format, such as 0-3,8.
func ParseList(list string) (cores []int, err error) {
	for part := range strings.SplitSeq(list, ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		a, err := strconv.ParseUint(first, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("list of cores %q: %w", list, err)
		}
		b, err := strconv.ParseUint(last, 10, 16)
		if err != nil || b < a {
			return nil, fmt.Errorf("list of cores %q: %q is not a range", list, part)
		}
		for c := a; c <= b; c++ {
			cores = append(cores, int(c))
		}
	}
	return cores, nil
}

// FormatList formats an ascending list of cores as the kernel does.
func FormatList(cores []int) string {
	var parts []string
	for i := 0; i < len(cores); {
		j := i
		for j+1 < len(cores) && cores[j+1] == cores[j]+1 {
			j++
		}
		part := strconv.Itoa(cores[i])
		if j > i {
			part += "-" + strconv.Itoa(cores[j])
		}
		parts = append(parts, part)
		i = j + 1
	}
	return strings.Join(parts, ",")
}
