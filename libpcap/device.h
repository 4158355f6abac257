// Which sockets belong to a device's name.
#ifndef IXCAP_DEVICE_H
#define IXCAP_DEVICE_H

#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "stream.h"

#define MAX_QUEUES 64

// A queue's socket.
struct device_socket {
	char path[STREAM_SOCKET_PATH];
	char interface[65];  // the stream must be this port's; empty: any
	unsigned device;     // of the settings' devices
};

struct device_sockets {
	struct device_socket at[MAX_QUEUES];
	unsigned n;
};

// device_ours reports whether a name, or NULL, means a port of a capture.
bool device_ours(const char *device);

// device_names reports whether a name means a capture's device: the device in full, without
// its options, or the interface alone, as eth0 of packet:eth0,sockets=2.
bool device_names(const char *asked, const char *device);

// device_find lists the sockets of the settings' devices, each the name of a port, a socket
// or a folder with sockets. It returns how many there are; with none, text says why.
unsigned device_find(const struct ixcap_settings *settings, struct device_sockets *found, char *text, size_t room);

// device_each calls f for each port that has sockets in the share folders, with its
// device name and its folder.
void device_each(void (*f)(const char *device, const char *folder, void *user), void *user);

#endif
