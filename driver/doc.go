// Package driver runs an Intel 82599 10 GbE controller from user space. In goes
// a pci.Device, whatever carries it; out come receive queues whose Poll gives
// frames where the device put them, transmit queues, link state and statistics
// that account for every frame.
//
//	             BAR 0: registers (internal/reg)    memory the device reads and writes
//	                      |                        +-------------------------------------+
//	Open: init.go --------+                        | per queue                           |
//	  4.6.3 steps 1-9     |  RXCTRL, RSS, ...      |  descriptors: 16 bytes each         |
//	Start: RXCTRL.RXEN ---+                        |  buffers:     2 KiB each, one per   |
//	                      |                        |               descriptor, for good  |
//	                      |                        +-------------------------------------+
//	 wire -> MAC -> 512 KiB packet buffer -> RSS -> DMA --^          |
//	                      |                                          v
//	                      |                               RxQueue.Poll (rx.go) -> []ring.Frame
//	                      +---- tail register <---------- RxQueue.Release
//
// Whoever polls needs a core. With Config.Interrupts = QueueInterrupts a reader
// sleeps instead while nothing arrives (rx_sleep.go), until its queue's MSI-X
// vector fires; how often that may be follows the rate (moderation.go). What the
// device has to tell besides frames, above all that the link came or went, is
// noticed by a goroutine of the port's and passed to Config.OnEvent (events.go).
//
// Every wait for the device has a limit, and its error (WaitError) names the
// register with its offset, the bits waited for and the last value.
//
// Section numbers are those of the "Intel 82599 10 GbE Controller Datasheet",
// revision 3.4. Names of registers and fields are the datasheet's.
//
// What the driver sets up is a monitor: all frames are wanted (promiscuous, no
// VLAN or MAC filter, oversized ones up to 15.5 KiB), none is altered (no VLAN
// stripping unless asked for, no coalescing; only the CRC goes), and the port
// never tells the other side to stop (flow control off).
package driver
