package stream

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// blockReader reads blocks beside a producer that sleeps.
type blockReader struct {
	stream   *Stream
	producer *Producer
	listener *Listener
	woken    int // times that the producer was woken
	began    time.Time
	blocks   chan error // what ReadBlock returned
}

func newBlockReader(t *testing.T, o Options) *blockReader {
	s := newStream(t, Config{Size: 4 * Block})
	r := &blockReader{stream: s, producer: s.Producer(), began: time.Now(), blocks: make(chan error, 1)}
	r.producer.Sleeps(func() { r.woken++ })
	r.listener = listen(t, s, o)
	return r
}

// read reads a block in the background.
func (r *blockReader) read(ctx context.Context) {
	go func() {
		_, err := r.listener.ReadBlock(ctx, Block)
		r.blocks <- err
	}()
	synctest.Wait()
}

// fill publishes frames up to a stream offset.
func (r *blockReader) fill(t *testing.T, offset uint64) {
	for n := uint32(0); r.producer.pos < offset; n++ {
		require.True(t, r.producer.Append(1, 0, numbered(n, 1500), 0))
	}
	r.producer.Publish()
	r.producer.Notify()
	synctest.Wait()
}

// returned requires that ReadBlock has returned, without that time has passed.
func (r *blockReader) returned(t *testing.T, want error) {
	t.Helper()
	select {
	case err := <-r.blocks:
		require.ErrorIs(t, err, want)
	default:
		require.Fail(t, "ReadBlock has not returned")
	}
	require.Equal(t, r.began, time.Now())
}

func TestASleepingProducerWakesReadersOfBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBlockReader(t, Options{})
		for n := range uint64(20) {
			r.read(t.Context())
			r.fill(t, n*Block+Block/2)
			require.Empty(t, r.blocks, "half a block is none")
			r.fill(t, (n+1)*Block)
			r.returned(t, nil)
			require.NoError(t, r.listener.Consume(Block))
		}
	})
}

func TestWhatElseEndsAWaitForABlock(t *testing.T) {
	for name, end := range map[string]struct {
		of   func(t *testing.T, r *blockReader)
		want error
	}{
		"finish": {func(t *testing.T, r *blockReader) { r.producer.Finish() }, io.EOF},
		"close":  {func(t *testing.T, r *blockReader) { require.NoError(t, r.listener.Close()) }, ErrClosed},
		"detach": {func(t *testing.T, r *blockReader) {
			require.NoError(t, r.stream.Detach(r.listener.id, "test"))
		}, ErrDetached},
		"end of a segment": {func(t *testing.T, r *blockReader) {
			r.producer.Append(1, 0, numbered(0, 100), 0)
			r.stream.Rotate()
			require.Equal(t, 1, r.woken)
			r.producer.Publish() // as a poller that was woken
			r.producer.Notify()
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newBlockReader(t, Options{})
				r.read(t.Context())
				require.Empty(t, r.blocks)
				end.of(t, r)
				synctest.Wait()
				r.returned(t, end.want)
			})
		})
	}
}

func TestAWaitForABlockEndsAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBlockReader(t, Options{})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := r.listener.ReadBlock(ctx, Block)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 3*time.Second, time.Since(r.began))
	})
}

// Index entries are released before the index is full, though no block is there.
func TestAReaderOfBlocksIsWokenForTheIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBlockReader(t, Options{})
		r.read(t.Context())
		half := uint64(len(r.listener.index) / 2)
		for n := range uint32(half) {
			require.True(t, r.producer.Append(1, 0, numbered(n, 16), 0))
		}
		r.fill(t, 0)
		require.Empty(t, r.blocks)
		require.Equal(t, half, r.listener.account.Seq.Load())
	})
}

func TestASleepingProducerIsWokenForRequests(t *testing.T) {
	r := newBlockReader(t, Options{})
	r.producer.Append(1, 0, numbered(0, 100), 0)
	r.producer.Publish()
	aligned := listen(t, r.stream, Options{Aligned: true})
	require.Equal(t, 1, r.woken, "an aligned start")
	listen(t, r.stream, Options{Fanout: "group=1"})
	require.Greater(t, r.woken, 1, "a member")
	r.producer.Publish()
	require.NoError(t, aligned.prepare(t.Context()))
	woken := r.woken
	r.producer.Finish()
	r.stream.Rotate()
	require.Equal(t, woken, r.woken, "after the end")
}

func TestAChangeOfPolicyReachesAReaderOfBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBlockReader(t, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		r.read(ctx)
		require.NoError(t, r.stream.SetPolicy(r.listener.id, Lossy, 0))
		synctest.Wait()
		require.Equal(t, Lossy, r.listener.Policy())
		require.Equal(t, r.began, time.Now())
		cancel()
		synctest.Wait()
		r.returned(t, context.Canceled)
		time.Sleep(2 * ackTimeout) // the housekeeper ends
	})
}
