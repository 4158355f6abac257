package vfiouser

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/pci/vfiouser/proto"
)

func TestAccessThatDoesNotEndIsWaitedForOnlySoLong(t *testing.T) {
	var o opening
	require.True(t, o.enter())
	freed := 0
	require.False(t, o.close(20*time.Millisecond, func() { freed++ }))
	require.Positive(t, freed)
	require.False(t, o.enter(), "closed all the same")
	o.leave()
	require.True(t, o.close(time.Minute, func() {}))
}

// A server can make a doorbell's eventfd blocking and fill its counter. Closing
// the device then sets whoever is held up free.
func TestWriterHeldUpByTheServerIsFreedByClose(t *testing.T) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	require.NoError(t, err)
	event, err := proto.OpenEventFD(fd)
	require.NoError(t, err)
	defer func() { require.NoError(t, event.Close()) }()
	full := [8]byte{}
	for i := range full {
		full[i] = math.MaxUint8
	}
	full[0]-- // native little endian; on others the write is refused and the test fails
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
	require.Eventually(t, func() bool { return b.open.users.Load() == 1 }, 30*time.Second, time.Millisecond)
	require.True(t, b.open.close(time.Minute, event.Drain))
	<-rung
}
