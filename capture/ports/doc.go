// Package ports opens the capture.Port that a device's name stands for:
//
//	0000:03:00.0, vfio-user:SOCKET, sim:...   capture/nic: an 82599, or its model
//	xdp:eth0,mode=copy                        capture/xdp: AF_XDP sockets
//	packet:eth0,sockets=4                     capture/packet: packet sockets
//	eth0                                      the best of them that works
//
// It is where the receive path meets cilium/ebpf; packages below it do not import that.
package ports
