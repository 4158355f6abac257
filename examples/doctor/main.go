// Doctor reports whether this machine can capture with one of its 82599 ports, or from
// another interface, and how to remove each obstacle. It changes nothing and needs no privileges.
package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ixcap/ixcap/capture/ports"
	"github.com/ixcap/ixcap/doctor"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

func main() { cli.Main(newCommand(run)) }

func newCommand(run func(device string, asJSON bool) error) *cobra.Command {
	var device string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor [flags] [PORT]",
		Short: "Report whether this machine can capture from a port",
		Long: `Report whether this machine can capture from a port: each check, why a failed one
matters, and the command that fixes it. Nothing is changed.

PORT is a PCI address (0000:03:00.0), an interface (eth2), or one that is captured with
sockets of the kernel (xdp:eth0, packet:eth0); the default is the first 82599 that is free.
The exit status is 0 if a capture can run, 1 if not.`,
		Example: `  doctor
  doctor eth2
  doctor packet:eth0
  doctor --json 0000:03:00.0`,
		Args: cli.Operands(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cli.NotEmpty(cmd); err != nil {
				return err
			}
			if len(args) > 0 {
				if args[0] == "" {
					return cli.Usagef("port \"\": the name is empty. Name a port, or none for the first that is free")
				}
				if device != "" {
					return cli.Usagef("port %s and port %s: name one", device, args[0])
				}
				device = args[0]
			}
			if scheme, _, _ := strings.Cut(device, ":"); scheme == "sim" || scheme == "vfio-user" {
				return cli.Usagef("port %s: needs no hardware of this machine. Name a PCI address or an interface", device)
			}
			return run(device, asJSON)
		},
	}
	cli.Group(cmd, "Port", func(flags *pflag.FlagSet) {
		flags.StringVarP(&device, "interface", "i", "", "examine this `port`")
	})
	cli.Group(cmd, "Output", func(flags *pflag.FlagSet) {
		flags.BoolVar(&asJSON, "json", false, "print the report as JSON (docs/JSON.md)")
	})
	return cmd
}

func run(device string, asJSON bool) error {
	report, err := examine(device)
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

// examine examines the machine for a port: an 82599, or an interface that sockets of the
// kernel capture from.
func examine(device string) (doctor.Report, error) {
	if device != "" {
		i, sockets, err := ports.Inspect(device)
		if err != nil {
			return doctor.Report{}, err
		}
		if sockets {
			s := spec(i.Port)
			s.Needs.Lock2M = int64(max(i.Queues, 1)) * umem
			return doctor.ExamineInterface(s, doctor.Interface(i)), nil
		}
	}
	return doctor.Examine(spec(device))
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

// command is the capture that can run.
func command(r doctor.Report) string {
	line := "hpcapdd -i " + r.Device
	if r.Pages1G {
		line += " --pages 1GiB --buffer 1GiB"
	}
	if len(r.Cores) > 0 {
		line += " --cores " + strconv.Itoa(r.Cores[len(r.Cores)-1])
	}
	return line + " -w DIR"
}
