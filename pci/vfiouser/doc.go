// Package vfiouser drives PCI functions that another process serves over a UNIX
// socket, by the vfio-user protocol. Importing it makes pci.Open understand
// "vfio-user:/path/to/socket".
//
// A socket goes in, a pci.Device comes out:
//
//	Load32, Store32, ReadAt, WriteAt --> message --> reply     (trapped, microseconds)
//	Store32 of a doorbell -------------> shadow memory, then eventfd (no message)
//	Load32, Store32 of a mapped area --> memory                (no message)
//	DMA().Map(memory) -----------------> IOVA + memfd: the device reads and
//	                                     writes the memory itself
//	SetVectors(eventfds) <-------------- the device signals the eventfds itself
//
// # Doorbells
//
// A ring's tail register is written once per batch and must not cost a round
// trip. It cannot be memory-mapped, though: a page of registers holds others
// whose reads have effects (counters that are cleared by reading), and mapped
// memory has no effects. So a server may name single registers whose writes it
// wants as a shadow ioeventfd (DEVICE_GET_REGION_IO_FDS, type 2): Store32 stores
// the value into memory that both processes share and adds 1 to an eventfd. All
// other registers of that page, and reads of this one, stay trapped. No message,
// no lock and no allocation is on that path. Plain ioeventfds and ioregionfds
// are for hypervisors; here such registers are written by message.
//
// A store through a message is answered before Store32 returns, so it is never
// overtaken by a doorbell that is rung afterwards.
//
// # When the device goes away
//
// The connection ends, the server breaks the protocol, or it leaves a request
// unanswered for the timeout: the device is then gone for good. As on the bus,
// loads give all ones and stores vanish; Done is closed and Err names the
// request or the reason. A request that the server answers with an error is no
// such thing: a load gives all ones then, a store vanishes, and the methods that
// return errors return it.
//
// # Threat model
//
// What the server says is checked: lengths, indices, ranges, descriptors. It can
// make requests fail, not this process. Two things it is trusted with, as every
// vfio-user server is. It may write all memory that was mapped for it (the
// option PrivateDMA keeps the memory here, at the price of messages). And memory
// it offers, shadow pages and mapped areas, must keep its size: a server that
// cuts the file behind them kills its clients, unless it sealed the file.
package vfiouser
