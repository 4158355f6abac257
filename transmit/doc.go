// Package transmit sends frames at given times through ports of the 82599.
//
//	traffic: generated frames ──┐
//	trace: captured frames ─────┴─► Source ─► Sender, by a Method ─► driver.TxQueue
//	                                             │ Software: posts each frame when it is due
//	                                             │ Limiter:  the device spaces them by a rate
//	                                             └ Filler:   frames with a wrong CRC between
//	                                                         them fill the line
//	times asked, times sent (pci.SendRecorder) ─► Spacing
//
// Times of a schedule are picoseconds since the first frame, because a byte takes 800 ps
// at 10 Gb/s. Filler frames are MoonGen's method (Emmerich et al., IMC 2015, section 8);
// receivers drop them for their CRC and count CRC errors.
package transmit
