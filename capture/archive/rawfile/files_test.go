package rawfile_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// memory is a folder of files in memory; room is the maximum size of each, in bytes.
type memory struct {
	files  []*bytes.Buffer
	closed int
	room   int
}

var errRoom = errors.New("no room")

type memoryFile struct {
	m *memory
	*bytes.Buffer
}

func (f memoryFile) Write(b []byte) (int, error) {
	if f.m.room > 0 && f.Len()+len(b) > f.m.room {
		return 0, errRoom
	}
	return f.Buffer.Write(b)
}

func (f memoryFile) Close() error { f.m.closed++; return nil }

func (m *memory) open(n int) (io.WriteCloser, error) {
	if n != len(m.files) {
		return nil, errors.New("files are opened in order")
	}
	m.files = append(m.files, &bytes.Buffer{})
	return memoryFile{m, m.files[n]}, nil
}

func TestFilesHaveExactlyTheSegmentsSize(t *testing.T) {
	const segment = 100_000
	m := &memory{}
	f, err := rawfile.NewFiles(segment, m.open)
	require.NoError(t, err)
	for i := range 300 {
		require.NoError(t, f.Write(rawfile.Record{Sec: uint32(i + 1), Len: 1500, Data: make([]byte, 1500)}))
	}
	require.NoError(t, f.Close())
	require.NoError(t, f.Close())
	require.Len(t, m.files, 5) // 66 records of 1512 bytes fit
	require.Equal(t, 5, m.closed)
	sec := uint32(0)
	for i, file := range m.files {
		if i < 4 {
			require.Equal(t, segment, file.Len())
		}
		r := rawfile.NewReader(file)
		for rec, err := range r.Records() {
			require.NoError(t, err)
			sec++
			require.Equal(t, sec, rec.Sec)
		}
		require.True(t, r.Padded())
	}
	require.EqualValues(t, 300, sec)
}

func TestFilesReturnAnErrorOnce(t *testing.T) {
	_, err := rawfile.NewFiles(10, (&memory{}).open)
	require.ErrorContains(t, err, "at least")
	_, err = rawfile.NewFiles(0, func(int) (io.WriteCloser, error) { return nil, errRoom })
	require.ErrorIs(t, err, errRoom)

	m := &memory{room: 1000}
	f, err := rawfile.NewFiles(1<<20, m.open)
	require.NoError(t, err)
	for err == nil {
		err = f.Write(rawfile.Record{Sec: 1, Len: 1500, Data: make([]byte, 1500)})
	}
	require.ErrorIs(t, err, errRoom)
	require.Equal(t, err, f.Write(rawfile.Record{Sec: 1}))
	require.NoError(t, f.Close())
	require.Equal(t, 1, m.closed)
}
