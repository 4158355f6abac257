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

// guestWord as the first argument makes this program a guest of a capture.
const guestWord = "guest"

// report is a guest's last word.
type report struct {
	reader
	Account account `json:"account"`
}

// account is what a listener says of itself.
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
		Use: guestWord, Hidden: true, Args: cli.NoOperands,
		RunE: func(*cobra.Command, []string) error { return guest(o) },
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

// guest attaches, reads until a line comes in on standard input or the stream ends,
// then reports. It is the process that is stopped and killed.
func guest(c clientOptions) error {
	o := stream.Options{DetachAfter: c.detachAfter.Duration()}
	if c.lossy {
		o.Policy = stream.Lossy
	}
	if c.oldest {
		o.Start = stream.FromOldest
	}
	o.Aligned = c.aligned
	for range c.again { // come and go
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
				if err := scribble(); err != nil {
					fmt.Fprintln(os.Stderr, err)
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

// guestOptions are a guest's, by chance.
func guestOptions(chance *rand.Rand) (args []string) {
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

// scribble writes nonsense where it can, which is its cursor, and tries where it
// must not be able to. It goes through /proc/self/mem, which asks less than a
// store does.
func scribble() error {
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
		junk := make([]byte, 128)
		for i := range junk {
			junk[i] = byte(rand.Uint32())
		}
		_, err := mem.WriteAt(junk, from)
		switch cursor := strings.Contains(line, "ixcap-cursor"); {
		case cursor && err != nil:
			return fmt.Errorf("write to the cursor: %w", err)
		case cursor:
			cursors++
		case err == nil:
			return fmt.Errorf("wrote to what must be read-only: %s", line)
		}
	}
	if cursors == 0 {
		return errors.New("found no cursor to scribble on")
	}
	return nil
}
