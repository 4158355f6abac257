package asynclog

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// log is what a queue has written. Writing waits while stalled is not closed.
type log struct {
	queue   *Queue
	stalled chan struct{}
	broken  bool
	lines   []string
}

var errBroken = errors.New("broken pipe")

func newLog() *log {
	l := &log{stalled: make(chan struct{})}
	l.queue = NewQueue(func(dropped uint64, over time.Duration) error {
		return l.write("dropped " + strconv.FormatUint(dropped, 10) + " in " + over.String())
	})
	return l
}

func (l *log) write(line string) error {
	<-l.stalled
	if l.broken {
		return errBroken
	}
	l.lines = append(l.lines, line)
	return nil
}

func (l *log) add(line string) { l.queue.Add(len(line), func() error { return l.write(line) }) }

func TestMessagesAreWrittenInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		close(l.stalled)
		var want []string
		for i := range 1000 {
			want = append(want, strconv.Itoa(i))
			l.add(strconv.Itoa(i))
		}
		require.True(t, l.queue.Flush(time.Second))
		require.Equal(t, want, l.lines)
		require.Zero(t, l.queue.Dropped())
		require.True(t, l.queue.Idle())
	})
}

func TestMessagesWithoutRoomAreToldWhenThereIsRoomAgain(t *testing.T) {
	for name, line := range map[string]string{"number": "x", "bytes": strings.Repeat("x", 64<<10)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLog()
				l.add(line)
				synctest.Wait() // it is being written
				fits := min(maxMessages, maxBytes/len(line))
				for range fits + 7 {
					l.add(line)
				}
				require.EqualValues(t, 7, l.queue.Dropped())
				time.Sleep(3 * time.Second)
				require.False(t, l.queue.Flush(time.Second))
				close(l.stalled)
				require.True(t, l.queue.Flush(time.Second))
				require.Len(t, l.lines, 1+fits+1)
				require.Equal(t, "dropped 7 in 4s", l.lines[1+fits])
				l.add("next")
				require.True(t, l.queue.Flush(time.Second))
				require.Equal(t, "next", l.lines[len(l.lines)-1])
			})
		})
	}
}

// The gap is told where it is: after the messages that had room before it.
func TestGapIsToldBeforeTheNextMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		for range maxMessages + 10 {
			l.add("old")
		}
		synctest.Wait()
		for range maxMessages {
			l.stalled <- struct{}{}
			synctest.Wait()
		}
		dropped := l.queue.Dropped()
		require.NotZero(t, dropped)
		l.add("new")
		close(l.stalled)
		require.True(t, l.queue.Flush(time.Second))
		require.Equal(t, "new", l.lines[len(l.lines)-1])
		require.Equal(t, "dropped "+strconv.FormatUint(dropped, 10)+" in 0s", l.lines[len(l.lines)-2])
	})
}

func TestMessagesThatFailAreToldWhenWritingWorksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		close(l.stalled)
		l.broken = true
		for range 3 {
			l.add("lost")
			require.True(t, l.queue.Flush(time.Second))
			time.Sleep(time.Second)
		}
		require.EqualValues(t, 3, l.queue.Dropped())
		require.Empty(t, l.lines)
		l.broken = false
		l.add("written")
		require.True(t, l.queue.Flush(time.Second))
		require.Equal(t, []string{"dropped 3 in 3s", "written"}, l.lines)
		require.EqualValues(t, 3, l.queue.Dropped(), "a note is no message")
	})
}
