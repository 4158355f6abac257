package dedup

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const document = "../../docs/DEDUP.md"

// TestSweepOfSizesAndPools makes the thesis's Table 4.7 with a real capture and copies,
// for HPCAP's table and the default one. -v prints it; docs/DEDUP.md must contain it.
func TestSweepOfSizesAndPools(t *testing.T) {
	if raceEnabled {
		t.Skip("one goroutine: nothing for the race detector")
	}
	defer func(before bool) { useAES = before }(useAES)
	useAES = false // the same on all machines
	kinds := []struct {
		name  string
		index Index
		bytes int
	}{{"rss 70", IndexRSS, 70}, {"content", IndexContent, 0}}
	cells := map[string]string{}
	best := 0
	for _, tr := range traffics {
		p := play(t, mix, tr.name, tr.mirrored)
		for _, kind := range kinds {
			for records := 1024; records <= defaultRecords; records *= 2 {
				for pools := 1; records/pools >= 1024; pools *= 2 {
					s := evaluate(t, Config{Window: tr.window, Records: records, Pools: pools, Bytes: kind.bytes, Index: kind.index}, p)
					cells[fmt.Sprint(records, pools)] += fmt.Sprintf(" %s | %s |", rate(s.found, s.duplicates), rate(s.wrong, s.others))
					if kind.index == IndexContent && records == defaultRecords && pools == defaultPools {
						require.Equal(t, []int{s.duplicates, 0}, []int{s.found, s.wrong}, "the default configuration on %s", tr.name)
						best++
					}
				}
			}
		}
	}
	require.Equal(t, len(traffics), best)
	var b strings.Builder
	b.WriteString("| records | pools |")
	for _, tr := range traffics {
		for _, kind := range kinds {
			fmt.Fprintf(&b, " %s %s: TPR | FPR |", tr.name, kind.name)
		}
	}
	b.WriteString("\n|" + strings.Repeat("---|", 2+2*len(traffics)*len(kinds)) + "\n")
	for records := 1024; records <= defaultRecords; records *= 2 {
		for pools := 1; records/pools >= 1024; pools *= 2 {
			fmt.Fprintf(&b, "| %dK | %d |%s\n", records/1024, pools, cells[fmt.Sprint(records, pools)])
		}
	}
	t.Logf("\n%s", &b)
	doc, err := os.ReadFile(document)
	require.NoError(t, err)
	require.Contains(t, string(doc), b.String(), "%s does not contain the table that this test makes", document)
}

// rate formats a share with three digits; 1.000 and 0 are exact.
func rate(n, of int) string {
	switch {
	case n == of:
		return "1.000"
	case n == 0:
		return "0"
	case n*10000 >= of*9995:
		return fmt.Sprintf("%.5f", float64(n)/float64(of))
	case n*10000 < of*5:
		return fmt.Sprintf("%.5f", float64(n)/float64(of))
	}
	return fmt.Sprintf("%.3f", float64(n)/float64(of))
}
