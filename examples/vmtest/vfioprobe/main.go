// Vfioprobe exercises the VFIO transport of a device inside the VM of the tests.
package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/ixcap/ixcap/examples/internal/cli"
	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/pci/vfio"
)

func main() { cli.Main(command()) }

func command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "vfioprobe COMMAND",
		Short: "Exercise the VFIO transport of a device",
		Args:  cli.NoOperands,
		RunE:  func(*cobra.Command, []string) error { return cli.Usagef("no command") },
	}
	cmd.AddCommand(
		probe("interrupts PORT", "Check MSI-X vectors, masks, INTx and reset", 1, func(d pci.Device, _ []string) error { return interrupts(d) }),
		probe("writeback PORT", "Check what the device writes to descriptors", 1, func(d pci.Device, _ []string) error { return writeBack(d) }),
		probe("unmapped PORT", "Post a descriptor with an address that is not mapped", 1, func(d pci.Device, _ []string) error { return unmappedAddress(d) }),
		probe("send PORT COUNT", "Send COUNT frames, numbered in their payload", 2, func(d pci.Device, args []string) error {
			n, err := strconv.Atoi(args[1])
			if err != nil || n < 0 {
				return cli.Usagef("%q frames: must be 0 or more", args[1])
			}
			return send(d, n)
		}),
		probe("offload PORT MAC", "Send packets to an address whose checksums, tags and segments the device makes", 2, func(d pci.Device, args []string) error {
			to, err := net.ParseMAC(args[1])
			if err != nil {
				return cli.Usagef("%w", err)
			}
			return offload(d, to)
		}),
		probe("form PORT", "Print which form of VFIO opens the device", 1, func(d pci.Device, _ []string) error {
			_, err := fmt.Println(d.(*vfio.Device).Form())
			return err
		}),
	)
	return cmd
}

// probe is a command that opens a device and runs one probe.
func probe(use, short string, operands int, run func(d pci.Device, args []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cli.Operands(operands, operands),
		RunE: func(_ *cobra.Command, args []string) (err error) {
			d, err := pci.Open(args[0])
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, d.Close()) }()
			return run(d, args)
		},
	}
}
