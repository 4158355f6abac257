// Package fanout decides which member of each fan-out group gets a frame. In a group each
// frame goes to one member. Settings is the text with which a listener asks to join.
package fanout
