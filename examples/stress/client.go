package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

// clientWord is the subcommand that makes this program a client of a capture.
const clientWord = "client"

// report is the final output of a client process.
type report struct {
	reader
	Account account `json:"account"`
}

// account holds the counters of a listener.
type account struct{ Stored, Read, Overrun, Unread uint64 }

func accountOf(s stream.ListenerStats) account {
	return account{s.Stored, s.Read, s.Overrun, s.Unread}
}

// clientOptions are the command line of a client process.
type clientOptions struct {
	socket, name                    string
	lossy, oldest, aligned, garbage bool
	again                           int
	detachAfter                     units.Duration
}

// clientCommand is the command line of a client process.
func clientCommand() *cobra.Command {
	var o clientOptions
	cmd := &cobra.Command{
		Use: clientWord, Hidden: true, Args: cli.NoOperands,
		RunE: func(*cobra.Command, []string) error { return client(o) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.socket, "socket", "", "attach at this `path`")
	flags.StringVar(&o.name, "name", "", "`name` of the listener")
	flags.BoolVar(&o.lossy, "lossy", false, "attach with the lossy policy")
	flags.BoolVar(&o.oldest, "oldest", false, "start at the oldest frame")
	flags.BoolVar(&o.aligned, "aligned", false, "ask for an aligned start")
	flags.BoolVar(&o.garbage, "garbage", false, "write garbage to the cursor page")
	flags.IntVar(&o.again, "again", 0, "attach and detach `N` times before")
	flags.Var(&o.detachAfter, "detach-after", "ask to be detached after this `time` without reading")
	return cmd
}

// client attaches, reads until its standard input or the stream ends, and prints a
// report. It runs in the processes that are stopped and killed.
func client(c clientOptions) error {
	o := stream.Options{DetachAfter: c.detachAfter.Duration()}
	if c.lossy {
		o.Policy = stream.Lossy
	}
	if c.oldest {
		o.Start = stream.FromOldest
	}
	o.Aligned = c.aligned
	for range c.again { // attach and detach
		l, err := stream.Attach(c.socket, c.name, o)
		if err != nil {
			return err
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		bufio.NewReader(os.Stdin).ReadByte()
		cancel()
	}()
	l, err := stream.Attach(c.socket, c.name, o)
	if err != nil {
		return err
	}
	if c.garbage {
		go func() {
			for ctx.Err() == nil {
				if err := corruptCursor(); err != nil {
					fmt.Fprintln(cli.Stderr, err)
					cli.Stderr.Flush(time.Second)
					os.Exit(cli.Failure)
				}
				time.Sleep(10 * time.Millisecond)
			}
		}()
	}
	var r report
	err = r.run(ctx, l)
	if cerr := l.Close(); err == nil {
		err = cerr
	}
	r.Account = accountOf(l.Stats())
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// randomOptions are the random options of a client process.
func randomOptions(chance *rand.Rand) (args []string) {
	switch chance.IntN(3) {
	case 0:
		args = append(args, "--lossy")
	case 1:
		args = append(args, "--detach-after", (time.Duration(200+chance.IntN(800)) * time.Millisecond).String())
	default:
		args = append(args, "--detach-after", "5s")
	}
	if chance.IntN(2) == 0 {
		args = append(args, "--oldest")
	}
	if chance.IntN(4) == 0 {
		args = append(args, "--aligned")
	}
	if chance.IntN(4) == 0 {
		args = append(args, "--again", fmt.Sprint(1+chance.IntN(20)))
	}
	return args
}

// corruptCursor writes random bytes to its cursor, and requires that writes to the
// read-only mappings fail. It writes through /proc/self/mem, which ignores the
// protection of the mapping.
func corruptCursor() error {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	mem, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	cursors := 0
	for line := range strings.Lines(string(maps)) {
		if !strings.Contains(line, "memfd:ixcap-") {
			continue
		}
		var from, to int64
		if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err != nil {
			return fmt.Errorf("mapping %q: %w", line, err)
		}
		data := make([]byte, 128)
		for i := range data {
			data[i] = byte(rand.Uint32())
		}
		_, err := mem.WriteAt(data, from)
		switch cursor := strings.Contains(line, "ixcap-cursor"); {
		case cursor && err != nil:
			return fmt.Errorf("write to the cursor: %w", err)
		case cursor:
			cursors++
		case err == nil:
			return fmt.Errorf("a write to a read-only mapping succeeded: %s", line)
		}
	}
	if cursors == 0 {
		return errors.New("no cursor is mapped")
	}
	return nil
}
