// Package fanout has the settings of fan-out groups: the text with which a listener asks
// to join a group, and what it means. In a group each frame goes to one member.
package fanout
