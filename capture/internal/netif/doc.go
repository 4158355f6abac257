// Package netif reads and sets what ports need of a network interface of the kernel:
//
//	Interface   state and counters (rtnetlink), its removal
//	            promiscuous mode (packet(7), PACKET_MR_PROMISC)
//	            offloads, receive queues, RSS (linux/ethtool.h)
//	            features of XDP (linux/netdev.h)
//	Needs       the rights that an error is about (capabilities(7))
//
// What is set holds until Close, which restores what was before. Promiscuous mode ends
// with the process too, the rest stays as it is when the process is killed.
package netif
