// Doctor says whether this machine can capture with one of its 82599 ports, and
// for everything in the way why it matters and which command mends it. It changes
// nothing and needs no privileges.
//
//	doctor [DEVICE] [-json]
//
// Its exit status is 0 when a capture can run, 1 when not, 2 for a command line
// that makes no sense.
package main

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/ixcap/ixcap/doctor"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

const usage = `usage: doctor [DEVICE] [-json]

DEVICE is a port's PCI address (0000:03:00.0) or interface (eth2); without it, the
first 82599 that can be had is examined. Exit status: 0 ready, 1 not, 2 usage.
`

func main() { cli.Main("doctor", run) }

func run(args []string) error {
	device, asJSON, err := parse(args)
	if err != nil {
		return err
	}
	report, err := doctor.Examine(spec(device))
	if err != nil {
		return err
	}
	if asJSON {
		err = report.WriteJSON(os.Stdout)
	} else {
		err = report.WriteText(os.Stdout)
	}
	if err != nil {
		return err
	}
	if !report.Ready() {
		return fmt.Errorf("not ready: %s", failed(report))
	}
	if !asJSON {
		fmt.Println("\nready: " + command(report))
	}
	return nil
}

func parse(args []string) (device string, asJSON bool, err error) {
	flags := flag.NewFlagSet("doctor", flag.ContinueOnError)
	flags.BoolVar(&asJSON, "json", false, "print the report as JSON")
	if err = cli.Parse(flags, args, usage); err != nil {
		return
	}
	if flags.NArg() > 0 {
		device = flags.Arg(0)
		if err = cli.Parse(flags, flags.Args()[1:], usage); err != nil { // flags behind the device
			return
		}
	}
	scheme, _, _ := strings.Cut(device, ":")
	switch {
	case flags.NArg() > 0:
		err = cli.Usagef("unexpected argument %q", flags.Arg(0))
	case scheme == "sim" || scheme == "vfio-user":
		err = cli.Usagef("%s needs nothing of this machine's hardware; name a PCI address or an interface", device)
	}
	return
}

// failed says which checks failed.
func failed(r doctor.Report) string {
	var names []string
	for _, c := range r.Checks {
		if c.State == doctor.Failed {
			names = append(names, c.Name)
		}
	}
	if len(names) == 1 {
		return names[0] + " failed"
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1] + " failed; mend them from the top"
}

// command is the capture that can run.
func command(r doctor.Report) string {
	line := "hpcapdd -device " + r.Device
	if r.Pages1G {
		line += " -pages 1GiB -buffer 1GiB"
	}
	if len(r.Cores) > 0 {
		line += " -cores " + strconv.Itoa(r.Cores[len(r.Cores)-1])
	}
	return line + " -dir DIR"
}
