// Doctor checks whether this machine can capture with one of its 82599 ports. For each
// obstacle it prints why it matters and the command that removes it. It changes
// nothing and needs no privileges.
//
//	doctor [DEVICE] [-json]
//
// Exit status: 0 if a capture can run, 1 if not, 2 for an invalid command line.
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

DEVICE is a port's PCI address (0000:03:00.0) or interface (eth2); default: the
first 82599 that is free. Exit status: 0 ready, 1 not ready, 2 usage.
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
		if err = cli.Parse(flags, flags.Args()[1:], usage); err != nil { // flags after the device
			return
		}
	}
	scheme, _, _ := strings.Cut(device, ":")
	switch {
	case flags.NArg() > 0:
		err = cli.Usagef("unexpected argument %q", flags.Arg(0))
	case scheme == "sim" || scheme == "vfio-user":
		err = cli.Usagef("%s needs no hardware to check. Use a PCI address or an interface", device)
	}
	return
}

// failed lists the failed checks.
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
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1] + " failed; fix them in this order"
}

// command returns the command line of a capture.
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
