package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ixcap/ixcap/capture/units"
)

const (
	commandQueue   = 4096             // finished files that wait for their command
	commandTimeout = 60 * time.Second // for what waits when the capture has ended
	maxEnding      = 4096             // bytes of a command's output

	// outputDelay is how long the output of a command that has ended is read: a process
	// that it has left in the background may keep the pipe open for ever.
	outputDelay = time.Second
)

// fileCommand runs a program for each finished file of a port, one after the other,
// with the file's path as its operand. A storer never waits for it.
type fileCommand struct {
	program string
	log     *slog.Logger
	files   chan string
	skipped atomic.Uint64 // files for which the queue had no room
	done    sync.WaitGroup
	cancel  context.CancelFunc
}

// startFileCommand starts the goroutine that runs the program; stop ends it.
func startFileCommand(program string, log *slog.Logger) *fileCommand {
	ctx, cancel := context.WithCancel(context.Background())
	c := &fileCommand{program: program, log: log, files: make(chan string, commandQueue), cancel: cancel}
	c.done.Go(func() {
		for path := range c.files {
			c.run(ctx, path)
		}
	})
	return c
}

// closed queues a finished file. It does not block.
func (c *fileCommand) closed(path string) {
	select {
	case c.files <- path:
	default:
		c.skipped.Add(1)
	}
}

func (c *fileCommand) run(ctx context.Context, path string) {
	var out ending
	cmd := exec.CommandContext(ctx, c.program, path)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = outputDelay
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		last := out[bytes.LastIndexByte(bytes.TrimSpace(out), '\n')+1:]
		c.log.Warn(fmt.Sprintf("command %s %s: %v: %s", c.program, path, err, bytes.TrimSpace(last)))
	}
}

// ending is the end of a command's output.
type ending []byte

func (e *ending) Write(b []byte) (int, error) {
	*e = append(*e, b...)
	if n := len(*e) - maxEnding; n > 0 {
		*e = append((*e)[:0], (*e)[n:]...)
	}
	return len(b), nil
}

// stop waits for the commands of all queued files, for a minute at most. No file may
// be queued after it is called.
func (c *fileCommand) stop() {
	close(c.files)
	timeout := time.AfterFunc(commandTimeout, c.cancel)
	c.done.Wait()
	timeout.Stop()
	c.cancel()
	if n := c.skipped.Load(); n > 0 {
		c.log.Warn(fmt.Sprintf("command %s: %s skipped: it is slower than files are finished", c.program, units.Plural(n, "file")))
	}
}
