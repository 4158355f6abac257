// Settings for packet sockets of the system's libpcap.
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "configure.h"
#include "system.h"

// A handle that pcap_create made: libpcap has no function that returns its device.
struct opened {
	struct opened *next;
	pcap_t *p;
	bool snaplen;  // the program has set one
	bool asked;    // by pcap_fanout
	int group;
	struct ixcap_fanout fanout;
	char device[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct opened *all;

// Inside the system's pcap_open_live, which may call this library's functions.
static _Thread_local bool within;

// error_of is the room of a handle's error.
static char *error_of(pcap_t *p) { return real.pcap_geterr(p); }

static void remember(pcap_t *p, const char *device)
{
	struct opened *o = calloc(1, sizeof *o + strlen(device) + 1);
	if (!o)
		return;
	o->p = p;
	strcpy(o->device, device);
	pthread_mutex_lock(&lock);
	o->next = all;
	all = o;
	pthread_mutex_unlock(&lock);
}

static struct opened *recall(const pcap_t *p)
{
	pthread_mutex_lock(&lock);
	struct opened *o = all;
	while (o && o->p != p)
		o = o->next;
	pthread_mutex_unlock(&lock);
	return o;
}

static void forget(const pcap_t *p)
{
	pthread_mutex_lock(&lock);
	for (struct opened **at = &all; *at; at = &(*at)->next) {
		struct opened *o = *at;
		if (o->p != p)
			continue;
		*at = o->next;
		free(o);
		break;
	}
	pthread_mutex_unlock(&lock);
}

pcap_t *system_create(const char *device, char *error)
{
	pcap_t *p = real.pcap_create(device, error);
	if (p && !within)
		remember(p, device ? device : "any");
	return p;
}

int system_set_snaplen(pcap_t *p, int snaplen)
{
	struct opened *o = recall(p);
	if (o)
		o->snaplen = true;
	return real.pcap_set_snaplen(p, snaplen);
}

// packet_socket reports whether a descriptor is one: other devices (USB, netfilter)
// have no fan-out.
static bool packet_socket(int fd)
{
	int domain = 0;
	socklen_t n = sizeof domain;
	return fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) == 0 && domain == AF_PACKET;
}

// join lets an activated handle join its group. What it adds to warning has no effect.
static int join(pcap_t *p, const struct ixcap_settings *s, char *warning, char *error)
{
	const struct ixcap_device *d = s->devices;
	if (s->ndevices == 0 || d->group < 0)
		return 0;
	if (!packet_socket(real.pcap_fileno(p))) {
		ixcap_warn(warning, "group %d without effect: %.60s is no packet socket", d->group, d->name);
		return 0;
	}
	return ixcap_fanout_packet(real.pcap_fileno(p), d->group, &d->fanout, error);
}

// prepare resolves the settings and sets channels and affinities.
static struct ixcap_settings *prepare(const char *device, const struct opened *o, char *warning, char *error)
{
	struct ixcap_settings *s = malloc(sizeof *s);
	char reason[PCAP_ERRBUF_SIZE];
	if (!s) {
		snprintf(error, PCAP_ERRBUF_SIZE, "malloc: %s", strerror(errno));
		return NULL;
	}
	if (ixcap_settings_resolve(device, s, error)) {
		free(s);
		return NULL;
	}
	if (o && o->asked && s->ndevices > 0) {
		s->devices[0].group = o->group;
		s->devices[0].fanout = o->fanout;
	}
	memcpy(warning, s->warning, sizeof s->warning);
	if (ixcap_settings_apply(s, reason))
		ixcap_warn(warning, "%s", reason);
	return s;
}

int system_activate(pcap_t *p)
{
	struct opened *o = within ? NULL : recall(p);
	char warning[PCAP_ERRBUF_SIZE] = "", error[PCAP_ERRBUF_SIZE] = "";
	if (!o)
		return real.pcap_activate(p);
	struct ixcap_settings *s = prepare(o->device, o, warning, error);
	if (!s) {
		memcpy(error_of(p), error, sizeof error);
		return PCAP_ERROR;
	}
	if (s->caplen && (s->caplen_forced || !o->snaplen))
		real.pcap_set_snaplen(p, s->caplen);
	int code = real.pcap_activate(p);
	if (code >= 0 && join(p, s, warning, error)) {
		memcpy(error_of(p), error, sizeof error);
		code = PCAP_ERROR;
	} else if (code == 0 && *warning) {
		memcpy(error_of(p), warning, sizeof warning);
		code = PCAP_WARNING;
	}
	free(s);
	return code;
}

pcap_t *system_open_live(const char *device, int snaplen, int promisc, int timeout, char *error)
{
	char warning[PCAP_ERRBUF_SIZE] = "";
	struct ixcap_settings *s = prepare(device ? device : "any", NULL, warning, error);
	if (!s)
		return NULL;
	within = true;
	pcap_t *p = real.pcap_open_live(device, s->caplen_forced ? s->caplen : snaplen, promisc, timeout, error);
	within = false;
	if (p && join(p, s, warning, error)) {
		real.pcap_close(p);
		p = NULL;
	} else if (p) {
		remember(p, device ? device : "any");
		if (*warning)
			memcpy(error, warning, sizeof warning);
	}
	free(s);
	return p;
}

int system_fanout(pcap_t *p, int group, const char *fanout)
{
	char *error = error_of(p), warning[PCAP_ERRBUF_SIZE] = "";
	struct ixcap_fanout asked = {0};
	if (ixcap_fanout_parse(fanout, &asked, warning, error))
		return PCAP_ERROR;
	int fd = real.pcap_fileno(p);
	if (fd >= 0 && packet_socket(fd))
		return ixcap_fanout_packet(fd, group, &asked, error);
	struct opened *o = recall(p);
	if (fd >= 0 || !o) {
		snprintf(error, PCAP_ERRBUF_SIZE, "group %d: the handle has no packet socket, which alone has fan-out.", group);
		return PCAP_ERROR;
	}
	o->asked = true;
	o->group = group;
	o->fanout = asked;
	return 0;
}

void system_close(pcap_t *p)
{
	forget(p);
	real.pcap_close(p);
}
