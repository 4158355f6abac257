package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/daemon/control"
)

func TestRetentionSaysWhatWasDeletedAndWhy(t *testing.T) {
	require.Equal(t, "1 file kept, 2 MiB", retentionText(&control.Retention{KeptFiles: 1, KeptBytes: 2 << 20}))
	require.Equal(t, "9 files kept, 9 KiB; 3 deleted for age, 3 KiB; 2 deleted for free space, 2 KiB; 1 deleted but open in a reader, 1 KiB; 4 reclaimed from readers, 4 KiB; 5 spared: being written; 3 errors",
		retentionText(&control.Retention{
			Removed:   []control.Removed{{Reason: "age", Files: 3, Bytes: 3 << 10}, {Reason: "free", Files: 2, Bytes: 2 << 10}},
			OpenFiles: 1, OpenBytes: 1 << 10, ReclaimedFiles: 4, ReclaimedBytes: 4 << 10, Spared: 5,
			Failed: map[string]uint64{"EROFS": 1, "EPERM": 2}, KeptFiles: 9, KeptBytes: 9 << 10,
		}))
}
