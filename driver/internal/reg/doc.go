// Package reg declares the registers of the 82599 that the driver uses, under
// the names of the datasheet ("Intel 82599 10 GbE Controller Datasheet",
// revision 3.4, section 8.2.3): where they are, how they may be accessed, which
// fields they have. What comes out of it is numbers; it accesses nothing.
//
//	31          26  25  24                 0
//	+-------------+---+--------------------+
//	|             | E |                    |   RXDCTL(q)       at 0x01028 + 0x40*q, q < 64
//	+-------------+---+--------------------+                      0x0D028 + 0x40*(q-64) above
//	                ^
//	                RXDCTL_ENABLE = Bit(25)
package reg
