// Vfioprobe does in the guest what no user's program does: it looks at the
// transport itself, and lets the device misbehave.
//
//	vfioprobe interrupts DEVICE     MSI-X vectors, masks, INTx and reset
//	vfioprobe writeback DEVICE      what the device writes into descriptors
//	vfioprobe stray DEVICE          a descriptor with an address that is not mapped
//	vfioprobe send DEVICE COUNT     frames 0 to COUNT-1, numbered in their payload
//	vfioprobe form DEVICE           how the kernel hands it over
package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/ixcap/ixcap/examples/internal/cli"
	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/pci/vfio"
)

func main() { cli.Main("vfioprobe", run) }

func run(args []string) (err error) {
	if len(args) < 2 {
		return cli.Usagef("want what to do, and a device")
	}
	dev, err := pci.Open(args[1])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dev.Close()) }()
	switch args[0] {
	case "form":
		fmt.Println(dev.(*vfio.Device).Form())
		return nil
	case "interrupts":
		return interrupts(dev)
	case "writeback":
		return writeBack(dev)
	case "stray":
		return strayAddress(dev)
	case "send":
		if len(args) != 3 {
			return cli.Usagef("how many frames?")
		}
		n, err := strconv.Atoi(args[2])
		if err != nil || n < 0 {
			return cli.Usagef("%q frames", args[2])
		}
		return send(dev, n)
	}
	fmt.Fprintln(os.Stderr, "vfioprobe: cannot", args[0])
	return cli.Usagef("cannot %s", args[0])
}
