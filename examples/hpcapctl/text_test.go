package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/capture/stream"
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

func TestListenersShowTheMembersOfGroups(t *testing.T) {
	g := stream.GroupStats{
		Group: 2, Mode: "hash", Unmatched: 3,
		Members:         []stream.MemberStats{{Name: "ids-0", ID: 7, Assigned: 100, Read: 90, Overrun: 4, Unread: 6, Handed: 5}},
		DepartedMembers: 1, DepartedSum: stream.MemberStats{Assigned: 20, Read: 14, InHand: 1, Redistributed: 5},
	}
	var b strings.Builder
	require.NoError(t, listeners{control.Listeners{Groups: []control.Group{{Queue: 1, Account: g}}}}.text(&b))
	require.Contains(t, b.String(), `
GROUP  MODE  MEMBER             LISTENER  ASSIGNED  READ  MISSED  UNREAD  IN HAND  REDISTRIBUTED  TAKEN OVER
1:2    hash  ids-0              1:7       100       90    4       6       0        0              5
1:2    hash  (1 departed)       -         20        14    0       0       1        5              0
1:2    hash  (matched by none)  -         3         0     0       0       0        0              0
`)
}
