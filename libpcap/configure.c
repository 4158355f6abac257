#include "configure.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "system.h"

// name_member gives the members of a handle one name: the queues of a port order their
// members by name, and so divide alike. It is another for each handle of the host.
static void name_member(struct ixcap_settings *s)
{
	static atomic_uint handles;
	unsigned handle = atomic_fetch_add(&handles, 1);
	for (int i = 0; i < s->ndevices; i++) {
		struct ixcap_fanout *f = &s->devices[i].fanout;
		if (s->devices[i].group >= 0 && f->member[0] == 0)
			snprintf(f->member, sizeof f->member, "%.30s.%d.%u", program_invocation_short_name, (int)getpid(), handle);
	}
}

int configure(pcap_t *p)
{
	if (!p->settings)
		p->settings = malloc(sizeof *p->settings);
	if (!p->settings)
		return handle_error(p, "malloc: %s", strerror(errno));
	struct ixcap_settings *s = p->settings;
	if (ixcap_settings_resolve(p->device, s, p->error))
		return PCAP_ERROR;
	for (int i = 0; p->asked && i < s->ndevices; i++) {
		s->devices[i].group = p->asked_group;
		s->devices[i].fanout = *p->asked;
	}
	name_member(s);
	if (s->caplen && (s->caplen_forced || p->snaplen == 0))
		p->snaplen = s->caplen;
	return 0;
}

int configure_request(pcap_t *p, unsigned device, struct stream_options *o, char *text)
{
	const struct ixcap_device *d = &p->settings->devices[device];
	*o = (struct stream_options){
		.name = program_invocation_short_name,
		.lossless = p->settings->policy == IXCAP_LOSSLESS,
		.detach_after = p->settings->detach_seconds * UINT64_C(1000000000),
	};
	if (d->group < 0)
		return 0;
	if (ixcap_fanout_request(&d->fanout, d->group, text, STREAM_TEXT, p->error) < 0)
		return PCAP_ERROR;
	o->fanout = text;
	return 0;
}

// apply sets channels and affinities, and writes what the user should know to error.
static int apply(const struct ixcap_settings *s, char *error)
{
	char reason[PCAP_ERRBUF_SIZE];
	memcpy(error, s->warning, sizeof s->warning);
	if (ixcap_settings_apply(s, reason))
		ixcap_warn(error, "%s", reason);
	return *error ? PCAP_WARNING : 0;
}

int configure_device(pcap_t *p) { return apply(p->settings, p->error); }

int configure_fanout(pcap_t *p, int group, const char *fanout)
{
	struct ixcap_fanout asked = {0};
	char warning[PCAP_ERRBUF_SIZE] = "", text[STREAM_TEXT];
	if (ixcap_fanout_parse(fanout, &asked, warning, p->error) || ixcap_fanout_request(&asked, group, text, sizeof text, p->error) < 0)
		return PCAP_ERROR;
	if (!p->asked)
		p->asked = malloc(sizeof *p->asked);
	if (!p->asked)
		return handle_error(p, "malloc: %s", strerror(errno));
	*p->asked = asked;
	p->asked_group = group;
	return 0;
}
