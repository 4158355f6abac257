// Package driver drives an Intel 82599 10 GbE controller, and an X540 or X550, from user
// space. It takes a pci.Device of any transport and provides receive queues whose Poll
// returns frames in the memory the device wrote them to, transmit queues, the link state,
// and statistics that account for every frame.
//
//	             BAR 0: registers (internal/reg)    memory the device reads and writes
//	                      |                        +-------------------------------------+
//	Open: init.go --------+                        | per queue                           |
//	  4.6.3 steps 1-9     |  RXCTRL, RSS, ...      |  descriptors: 16 bytes each         |
//	Start: RXCTRL.RXEN ---+                        |  buffers:     2 KiB each, buffer i  |
//	                      |                        |               always with descr. i  |
//	                      |                        +-------------------------------------+
//	 wire -> MAC -> 512 KiB packet buffer -> RSS -> DMA --^          |
//	                      |                                          v
//	                      |                               RxQueue.Poll (rx.go) -> []ring.Frame
//	                      +---- tail register <---------- RxQueue.Release
//
// With Config.Chunks each queue is an RxPool instead (rx_pool.go), whose buffers change:
// frames stay where they are until their chunk of buffers is recycled.
//
// Polling needs a core. With Config.Interrupts = QueueInterrupts a reader sleeps while
// no frame arrives (rx_sleep.go), until its queue's MSI-X vector fires; the interval
// between interrupts follows the rate (moderation.go). A goroutine of the port
// watches the link and other causes and calls Config.OnEvent (events.go).
//
// Every wait for the device has a limit, and its error (WaitError) names the
// register and its fields, the bits waited for and the last value.
//
// Section numbers are those of the "Intel 82599 10 GbE Controller Datasheet",
// revision 3.4. Names of registers and fields are the datasheet's.
//
// The port is configured as a monitor: it receives all frames (promiscuous, no VLAN or
// MAC filter, up to 15.5 KiB; bad ones if asked for), changes none (only the CRC is
// stripped unless it is to be kept; VLAN tags if asked for; no coalescing), and never pauses the sender (flow control is off).
package driver
