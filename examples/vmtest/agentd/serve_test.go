package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/examples/vmtest/internal/agent"
)

// session is the host's end of an agent in this process.
type session struct {
	conn net.Conn
	r    *agent.Reader
}

func serve(t *testing.T) session {
	t.Helper()
	host, port := net.Pipe()
	require.NoError(t, host.SetDeadline(time.Now().Add(time.Minute)))
	s := &server{port: port, home: t.TempDir(), nameInterfaces: func() error { return nil }, jobs: map[uint32]*os.Process{}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.serve() // ends with the pipe, below
	}()
	t.Cleanup(func() { host.Close(); port.Close(); <-ended })
	h := session{host, agent.NewReader(host)}
	f, err := h.r.Read()
	require.NoError(t, err)
	require.Equal(t, agent.Hello, f.Kind)
	require.Contains(t, string(f.Payload), `"Release":"`)
	return h
}

func (h session) send(t *testing.T, k agent.Kind, job uint32, v any) {
	t.Helper()
	payload, err := json.Marshal(v)
	require.NoError(t, err)
	b, err := agent.Frame{Kind: k, Job: job, Payload: payload}.Append(nil)
	require.NoError(t, err)
	_, err = h.conn.Write(b)
	require.NoError(t, err)
}

// end reads until the job has ended.
func (h session) end(t *testing.T, job uint32) (output string, s agent.Status) {
	t.Helper()
	for {
		f, err := h.r.Read()
		require.NoError(t, err)
		if f.Job != job {
			continue
		}
		if f.Kind == agent.Exit {
			require.NoError(t, json.Unmarshal(f.Payload, &s))
			return output, s
		}
		require.Equal(t, agent.Output, f.Kind)
		output += string(f.Payload)
	}
}

func sh(command string) agent.Job { return agent.Job{Args: []string{"sh", "-c", command}} }

func TestJobsOutputAndStatusArrive(t *testing.T) {
	h := serve(t)
	h.send(t, agent.Start, 1, sh("echo out; echo err >&2; exit 7"))
	out, s := h.end(t, 1)
	require.Equal(t, "out\nerr\n", out)
	require.Equal(t, agent.Status{Code: 7}, s)

	h.send(t, agent.Start, 2, sh("head -c 100000 /dev/zero"))
	out, s = h.end(t, 2)
	require.Equal(t, strings.Repeat("\x00", 100000), out)
	require.Zero(t, s)
}

func TestSignalEndsTheJobAndItsChildren(t *testing.T) {
	h := serve(t)
	h.send(t, agent.Start, 5, sh("sleep 1000 & echo up; wait"))
	f, err := h.r.Read()
	require.NoError(t, err)
	require.Equal(t, "up\n", string(f.Payload))
	h.send(t, agent.Signal, 4, int(syscall.SIGKILL)) // no such job
	h.send(t, agent.Signal, 5, int(syscall.SIGTERM))
	_, s := h.end(t, 5)
	require.Equal(t, agent.Status{Code: 128 + 15, Signal: "SIGTERM"}, s)
}

func TestJobEndsWhileItsOutputIsOpen(t *testing.T) {
	h := serve(t)
	start := time.Now()
	h.send(t, agent.Start, 1, sh("sleep 30 & echo done"))
	out, s := h.end(t, 1)
	require.Equal(t, "done\n", out)
	require.Zero(t, s)
	require.Less(t, time.Since(start), 20*time.Second)
}

func TestInvalidRequestsAreAnswered(t *testing.T) {
	h := serve(t)
	h.send(t, agent.Start, 1, agent.Job{Args: []string{"/no/such/program"}})
	_, s := h.end(t, 1)
	require.Equal(t, 127, s.Code)
	require.Contains(t, s.Error, "no such file")
	h.send(t, agent.Start, 2, agent.Job{})
	_, s = h.end(t, 2)
	require.Contains(t, s.Error, "invalid job")

	_, err := h.conn.Write([]byte("garbage\r\n"))
	require.NoError(t, err)
	h.send(t, agent.Signal, 1, "no number")
	h.send(t, agent.Exit, 1, nil) // not for the agent
	h.send(t, agent.Start, 3, sh("echo still here"))
	out, _ := h.end(t, 3)
	require.Equal(t, "still here\n", out)
}

func TestAgentRefusesToRunOutsideAVM(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cmdline")
	require.NoError(t, os.WriteFile(file, []byte("console=ttyS0 ixcap.vm quiet\n"), 0o644))
	require.NoError(t, inVM(file))
	require.NoError(t, os.WriteFile(file, []byte("BOOT_IMAGE=/vmlinuz root=/dev/sda1\n"), 0o644))
	require.ErrorContains(t, inVM(file), "make vmtest")
}
