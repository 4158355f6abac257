// Package openfiles finds the processes that have a file open, as far as the user may see
// them (proc_pid_fd(5)).
package openfiles
