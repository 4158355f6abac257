#!/bin/sh
# github.com/vishvananda/netlink 1.3.1: a request of generic netlink has two bytes of
# other memory in its header.
#
# struct genlmsghdr (linux/genetlink.h) has four bytes: command, version, and two that are
# reserved and must be 0. nl.Genlmsg has the first two only, and Serialize returns the four
# bytes at its address. A family whose operations are checked strictly, such as "netdev"
# (Linux 6.3), answers such a request with EINVAL, unless the bytes behind happen to be 0.
#
# For our users: ixcap asks a driver for its XDP features with a header of its own
# (capture/internal/netif, TestFeaturesOfXDP).
#
# Seen: two headers side by side; the first one's bytes are 1 1 170 187, not 1 1 0 0.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"fmt"

	"github.com/vishvananda/netlink/nl"
)

func main() {
	pair := [2]nl.Genlmsg{{Command: 1, Version: 1}, {Command: 170, Version: 187}}
	fmt.Println(pair[0].Serialize())
}
GO
go mod init example >/dev/null 2>&1
go get github.com/vishvananda/netlink@v1.3.1 >/dev/null 2>&1
go run . | tee out
[ "$(cat out)" = "[1 1 170 187]" ] || { echo "changed"; exit 1; }
