// Package reg declares the registers of the 82599 that the driver uses, under
// the names of the datasheet ("Intel 82599 10 GbE Controller Datasheet",
// revision 3.4, section 8.2.3). It holds numbers and names; it accesses no device.
//
// A register is declared once, in one row of table.go, with its fields in the
// lines below it. Names in errors, statistics and dumps come from that row:
//
//	RXDCTL        = array("RXDCTL", rxQueue(0x28), RW, "8.2.3.8", PerQueue)
//	RXDCTL_ENABLE = RXDCTL.bit("ENABLE", 25)
//
//	31          26  25  24                 0
//	+-------------+---+--------------------+
//	|             | E |                    |   RXDCTL(q)       at 0x01028 + 0x40*q, q < 64
//	+-------------+---+--------------------+                      0x0D028 + 0x40*(q-64) above
//	                ^
//	                RXDCTL_ENABLE
package reg
