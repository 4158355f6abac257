package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/ixcap/ixcap/capture/stream"
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

// guest attaches as often as it is told and reads until a line comes in on
// standard input, or it ends, then reports. It is what gets stopped and killed.
func guest(args []string) error {
	args = args[1:] // guestWord
	var o stream.Options
	flags := flag.NewFlagSet("guest", flag.ContinueOnError)
	path := flags.String("socket", "", "")
	name := flags.String("name", "", "")
	lossy := flags.Bool("lossy", false, "")
	oldest := flags.Bool("oldest", false, "")
	aligned := flags.Bool("aligned", false, "")
	again := flags.Int("again", 0, "")
	garbage := flags.Bool("garbage", false, "")
	flags.DurationVar(&o.DetachAfter, "detach-after", 0, "")
	if err := cli.Parse(flags, args, "started by stress"); err != nil {
		return err
	}
	if *lossy {
		o.Policy = stream.Lossy
	}
	if *oldest {
		o.Start = stream.FromOldest
	}
	o.Aligned = *aligned
	for range *again { // come and go
		l, err := stream.Attach(*path, *name, o)
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
	l, err := stream.Attach(*path, *name, o)
	if err != nil {
		return err
	}
	if *garbage {
		go func() {
			for ctx.Err() == nil {
				if err := scribble(); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(cli.Failed)
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
		args = append(args, "-lossy")
	case 1:
		args = append(args, "-detach-after", (time.Duration(200+chance.IntN(800)) * time.Millisecond).String())
	default:
		args = append(args, "-detach-after", "5s")
	}
	if chance.IntN(2) == 0 {
		args = append(args, "-oldest")
	}
	if chance.IntN(4) == 0 {
		args = append(args, "-aligned")
	}
	if chance.IntN(4) == 0 {
		args = append(args, "-again", fmt.Sprint(1+chance.IntN(20)))
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
