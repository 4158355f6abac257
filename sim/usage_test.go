package sim

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// listed are the first groups of all matches in Usage.
func listed(expression string) (all []string) {
	for _, m := range regexp.MustCompile(expression).FindAllStringSubmatch(Usage, -1) {
		all = append(all, m[1])
	}
	return all
}

func TestUsageListsEveryOption(t *testing.T) {
	require.ElementsMatch(t, modelKeys, listed(`(?m)^([a-z]+)=`))
	require.ElementsMatch(t, regexp.MustCompile(`[a-z-]+(:N|:TIME)?`).FindAllString(strings.Replace(faultNames, " or ", " ", 1), -1),
		slices.Collect(func(yield func(string) bool) {
			for _, name := range listed(`(?m)^ {16}([a-z0-9:N-]+)  `) {
				if !yield(strings.Replace(name, ":1s", ":TIME", 1)) {
					return
				}
			}
		}))
	for key, names := range map[string][]string{
		"sfp": slices.Collect(maps.Keys(moduleNames)), "ddm": slices.Collect(maps.Keys(monitoringNames)),
	} {
		require.ElementsMatch(t, names, strings.Split(listed(`(?m)^` + key + `=(\S+)`)[0], "|"))
	}
}
