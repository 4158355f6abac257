package sim

// Usage lists the options of a port, beside those of its wire (wire.Usage): the text of
// nicsim's help and of docs/MODEL.md.
const Usage = `id=10fb       PCI device id, or 82599, x540, x550; an unknown one lists all
mac=02:00:00:00:00:01
              station address
sfp=sr|lr|da|sx|lrm|none
              module in the SFP+ cage, sr by default; sx is one of 1 Gb/s, lrm one that
              the 82599 does not support
ddm=internal|external|none
              what the module measures of itself, and who calibrates it
start=rx|link read the wire from the first RXEN on (default), or as soon as the link is up
linkdelay=5ms time to link up
clock=PPM     by how much the oscillator of the clock SYSTIM is fast, -1000 to 1000
peer=100m|1g|10g
              speed of the other end, on twisted pair its fastest; any by default
vfs=N         virtual functions, 1 to 63
fault=NAME    injected faults, several separated by +:
                flap:1s           the link is lost for linkdelay every second
                doorbell:N        every Nth write of a tail register is lost
                remove:N          the device is removed after N frames
                dma:N             a DMA write to an unmapped address every N frames
                crc:N             every Nth frame has a wrong CRC
                rxstall:N         reception stops after N frames, until a reset
                txhang:N          transmission stops after N frames, until a reset
                pending:1s        requests stay pending for a second after master disable
                eeprom-checksum   the EEPROM's checksum is wrong
                no-writeback      descriptors are never written back
                rxdctl            queues never read back as enabled
                no-msix           MSI-X vectors are never signalled
`
