#!/bin/sh
# github.com/gopacket/gopacket v1.7.7: the channel of PacketSource.Packets does not end
# when the data source is closed with the standard library's error for that.
#
# A PacketDataSource that returns io.EOF ends the channel after one call. One that
# returns os.ErrClosed, net.ErrClosed or context.Canceled is called again every 5 ms,
# without end, and the channel stays open: the reader of a closed source waits forever.
# packetsToChannel ends for io.EOF, io.ErrUnexpectedEOF, io.ErrNoProgress,
# io.ErrClosedPipe, io.ErrShortBuffer, EBADF, and any text that contains "use of closed
# file", which os.ErrClosed ("file already closed") does not.
#
# For our users: listeners return io.EOF to gopacket once they are closed or detached
# (capture/packetsource, TestReadingAClosedListenerIsErrClosed).
#
# Seen: calls within 300 ms and whether the channel ended, one line for each error.
set -eu
version=v1.7.7
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

type source struct {
	err   error
	calls atomic.Int64
}

func (s *source) ReadPacketData() ([]byte, gopacket.CaptureInfo, error) {
	s.calls.Add(1)
	return nil, gopacket.CaptureInfo{}, s.err
}

func main() {
	for _, err := range []error{io.EOF, os.ErrClosed, net.ErrClosed, context.Canceled} {
		s := &source{err: err}
		packets := gopacket.NewPacketSource(s, layers.LinkTypeEthernet).Packets()
		ended := false
		select {
		case <-packets:
			ended = true
		case <-time.After(300 * time.Millisecond):
		}
		calls := "one call"
		if s.calls.Load() > 5 {
			calls = "called again and again"
		}
		fmt.Printf("%q: channel ended: %v, %s\n", err, ended, calls)
	}
}
GO
{
	go mod init finding
	go get "github.com/gopacket/gopacket@$version"
} >log 2>&1 || { cat log; exit 1; }
go run . | tee out
cat >want <<'TEXT'
"EOF": channel ended: true, one call
"file already closed": channel ended: false, called again and again
"use of closed network connection": channel ended: false, called again and again
"context canceled": channel ended: false, called again and again
TEXT
diff want out
