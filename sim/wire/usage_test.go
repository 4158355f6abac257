package wire

import (
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUsageListsEveryOption(t *testing.T) {
	var listed []string
	for _, m := range regexp.MustCompile(`(?m)^(?:  )?([a-z]+)([=, ].*[^:])?$`).FindAllStringSubmatch(Usage, -1) {
		listed = append(listed, m[1])
	}
	slices.Sort(listed)
	keys := slices.Concat(pcapKeys, genKeys, mixKeys, packetKeys, sinkKeys)
	slices.Sort(keys)
	require.Equal(t, slices.Compact(keys), slices.Compact(listed))
}
