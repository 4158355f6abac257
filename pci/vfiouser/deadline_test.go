package vfiouser

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/pci/vfiouser/proto"
)

func TestCloseOfAGateTimesOut(t *testing.T) {
	var o gate
	require.True(t, o.enter())
	drained := 0
	require.False(t, o.close(20*time.Millisecond, func() { drained++ }))
	require.Positive(t, drained)
	require.False(t, o.enter(), "closed after the timeout")
	o.leave()
	require.True(t, o.close(time.Minute, func() {}))
}

// A server can make a doorbell's eventfd blocking and fill its counter. Close then
// unblocks the writer.
func TestCloseUnblocksAWriter(t *testing.T) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	require.NoError(t, err)
	event, err := proto.OpenEventFD(fd)
	require.NoError(t, err)
	defer func() { require.NoError(t, event.Close()) }()
	full := [8]byte{}
	for i := range full {
		full[i] = math.MaxUint8
	}
	full[0]-- // little endian; on other machines the write fails
	_, err = unix.Write(fd, full[:])
	require.NoError(t, err)
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, 0) // as the server could
	require.NoError(t, err)

	b := &doorbell{shadow: new(uint32), event: event}
	rung := make(chan struct{})
	go func() {
		defer close(rung)
		b.ring(7)
	}()
	require.Eventually(t, func() bool { return b.gate.users.Load() == 1 }, 30*time.Second, time.Millisecond)
	require.True(t, b.gate.close(time.Minute, event.Drain))
	<-rung
}
