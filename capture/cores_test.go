package capture

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPollersGetTheLastCoresOfTheNodeWhereThereAreEnough(t *testing.T) {
	for _, c := range []struct {
		name            string
		pollers         int
		allowed, onNode []int
		want            []int
	}{
		{"two cores are too few", 1, []int{0, 1}, nil, []int{AnyCore}},
		{"three are enough for one", 1, []int{0, 1, 2}, nil, []int{2}},
		{"but not for two", 2, []int{0, 1, 2}, nil, []int{AnyCore, AnyCore}},
		{"the last ones", 2, []int{0, 1, 2, 3, 4, 5}, nil, []int{4, 5}},
		{"of the node", 2, []int{0, 1, 2, 3, 4, 5}, []int{0, 2, 4}, []int{2, 4}},
		{"that are allowed", 1, []int{0, 1, 2, 3}, []int{2, 3, 4, 5}, []int{3}},
		{"a node with too few", 2, []int{0, 1, 2, 3, 4}, []int{4}, []int{AnyCore, AnyCore}},
		{"nothing known", 1, nil, nil, []int{AnyCore}},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, pollerCores(c.pollers, c.allowed, c.onNode))
		})
	}
}

func TestListsOfCoresAreReadAsTheKernelWritesThem(t *testing.T) {
	for list, want := range map[string][]int{"0": {0}, "0-3": {0, 1, 2, 3}, "0-1,8,10-11": {0, 1, 8, 10, 11}} {
		got, err := parseCores(list)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, list := range []string{"", "x", "3-1", "1,,2", "1-", "-1", "99999"} {
		_, err := parseCores(list)
		require.Error(t, err, "%q", list)
	}
}

func TestThisProcessMayRunSomewhere(t *testing.T) {
	require.Len(t, allowedCores(), runtime.NumCPU())
}
