// The functions of libpcap's ABI that know a handle: ours, or the system's.
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "configure.h"
#include "device.h"
#include "filter.h"
#include "handle.h"
#include "include/pcap/fanout.h"
#include "read.h"
#include "system.h"

#define NOT_ACTIVATED "This handle hasn't been activated yet"
#define ACTIVATED "can't perform  operation on activated capture"  // as libpcap has it

int handle_error(pcap_t *p, const char *format, ...)
{
	va_list list;
	va_start(list, format);
	vsnprintf(p->error, sizeof p->error, format, list);
	va_end(list);
	return PCAP_ERROR;
}

static int not_activated(pcap_t *p)
{
	handle_error(p, "%s", NOT_ACTIVATED);
	return PCAP_ERROR_NOT_ACTIVATED;
}

// inactive reports whether a property may still be set.
static bool inactive(pcap_t *p)
{
	if (p->active)
		handle_error(p, "%s", ACTIVATED);
	return !p->active;
}

static pcap_t *make(const char *device)
{
	pcap_t *p = calloc(1, sizeof *p);
	if (!p)
		return NULL;
	p->magic = HANDLE_MAGIC;
	p->timer = p->wake = -1;
	p->device = strdup(device);
	if (!p->device) {
		free(p);
		return NULL;
	}
	return p;
}

pcap_t *pcap_create(const char *device, char *error)
{
	const char *name = device ? device : "any";
	if (!device_ours(device)) {
		if (real.pcap_create)
			return system_create(device, error);
		snprintf(error, PCAP_ERRBUF_SIZE, "%s", SYSTEM_MISSING);
		return NULL;
	}
	*error = 0;
	pcap_t *p = make(name);
	if (!p)
		snprintf(error, PCAP_ERRBUF_SIZE, "malloc: %s", strerror(errno));
	return p;
}

// SETTER is for properties that are fixed by pcap_activate.
#define SETTER(name, statement) \
	int name(pcap_t *p, int v) \
	{ \
		if (!ours(p)) \
			return real.name(p, v); \
		if (!inactive(p)) \
			return PCAP_ERROR_ACTIVATED; \
		statement; \
		return 0; \
	}

SETTER(pcap_set_promisc, (void)v)      // what a port receives is the capture's matter
SETTER(pcap_set_rfmon, p->rfmon = v)
SETTER(pcap_set_timeout, p->timeout = v)
SETTER(pcap_set_immediate_mode, p->immediate = v)
SETTER(pcap_set_buffer_size, (void)v)  // the buffer is the capture's, too
SETTER(pcap_set_protocol_linux, p->protocol = v)
SETTER(pcap_set_tstamp_type, if (v != PCAP_TSTAMP_HOST) return PCAP_WARNING_TSTAMP_TYPE_NOTSUP)
SETTER(pcap_set_tstamp_precision, if (v != PCAP_TSTAMP_PRECISION_MICRO && v != PCAP_TSTAMP_PRECISION_NANO) return PCAP_ERROR_TSTAMP_PRECISION_NOTSUP; p->precision = v)

int pcap_set_snaplen(pcap_t *p, int snaplen)
{
	if (!ours(p))
		return system_set_snaplen(p, snaplen);
	if (!inactive(p))
		return PCAP_ERROR_ACTIVATED;
	p->snaplen = snaplen;
	return 0;
}

int pcap_can_set_rfmon(pcap_t *p) { return ours(p) ? 0 : real.pcap_can_set_rfmon(p); }

int pcap_get_tstamp_precision(pcap_t *p) { return ours(p) ? p->precision : real.pcap_get_tstamp_precision(p); }

// list_of makes a list of one number.
static int list_of(pcap_t *p, int number, int **list)
{
	*list = malloc(sizeof **list);
	if (!*list)
		return handle_error(p, "malloc: %s", strerror(errno));
	**list = number;
	return 1;
}

int pcap_list_tstamp_types(pcap_t *p, int **list)
{
	return ours(p) ? list_of(p, PCAP_TSTAMP_HOST, list) : real.pcap_list_tstamp_types(p, list);
}

static void detach(pcap_t *p)
{
	for (unsigned i = 0; i < p->n; i++) {
		stream_close(&p->queues[i].s);
		free(p->queues[i].copy);
	}
	free(p->queues);
	p->queues = NULL;
	p->n = 0;
}

// copies reports whether the program gets copies of frames: it writes into them, which the
// shared memory does not allow and libpcap's does.
static bool copies(const struct ixcap_settings *settings)
{
	static const char *const writers[] = {"pmacctd", "uacctd"};
	if (settings->copy >= 0)
		return settings->copy;
	for (size_t i = 0; i < sizeof writers / sizeof *writers; i++)
		if (strcmp(program_invocation_short_name, writers[i]) == 0)
			return true;
	return false;
}

// attach opens one queue's stream. The result is that of stream_open; a stream of
// another interface than asked for is none.
static int attach(pcap_t *p, const struct device_socket *at)
{
	struct queue *q = &p->queues[p->n];
	struct stream_options o;
	char fanout[STREAM_TEXT];
	if (configure_request(p, at->device, &o, fanout))
		return STREAM_FAILED;
	int code = stream_open(&q->s, at->path, &o, p->error, sizeof p->error);
	if (code != STREAM_OK)
		return code;
	if (*at->interface && !device_names(at->interface, q->s.name)) {
		handle_error(p, "%.100s captures %s, not %s. Write ixcap:%.*s, or start another capture with hpcapdd --share DIR.", at->path, q->s.name, at->interface,
		             (int)strcspn(q->s.name, ","), q->s.name);
		stream_close(&q->s);
		return STREAM_NONE;
	}
	q->copy = malloc(LONGEST);
	if (!q->copy) {
		handle_error(p, "malloc: %s", strerror(errno));
		stream_close(&q->s);
		return STREAM_FAILED;
	}
	q->seq = q->until = q->s.at.position;
	q->end = q->s.at.position_offset;
	q->held = NOTHING_HELD;
	p->n++;
	return STREAM_OK;
}

// attach_all opens the streams of all queues of the device.
static int attach_all(pcap_t *p)
{
	struct device_sockets found;
	if (!device_find(p->settings, &found, p->error, sizeof p->error))
		return PCAP_ERROR_NO_SUCH_DEVICE;
	p->queues = calloc(found.n, sizeof *p->queues);
	if (!p->queues)
		return handle_error(p, "malloc: %s", strerror(errno));
	for (unsigned i = 0; i < found.n; i++) {
		int code = attach(p, &found.at[i]);
		if (code == STREAM_OK)
			continue;
		detach(p);
		return code == STREAM_NONE ? PCAP_ERROR_NO_SUCH_DEVICE : code == STREAM_DENIED ? PCAP_ERROR_PERM_DENIED : PCAP_ERROR;
	}
	return 0;
}

int pcap_activate(pcap_t *p)
{
	if (!ours(p))
		return system_activate(p);
	if (!inactive(p))
		return PCAP_ERROR_ACTIVATED;
	*p->error = 0;
	if (p->rfmon)
		return PCAP_ERROR_RFMON_NOTSUP;
	if (configure(p))
		return PCAP_ERROR;
	if (p->snaplen <= 0 || p->snaplen > MAX_SNAPLEN)
		p->snaplen = MAX_SNAPLEN;
	p->copying = copies(p->settings);
	int code = attach_all(p);
	if (code)
		return code;
	if (real.pcap_open_dead_with_tstamp_precision)
		p->companion = real.pcap_open_dead_with_tstamp_precision(DLT_EN10MB, p->snaplen, (u_int)p->precision);
	if (!p->companion) {
		detach(p);
		return handle_error(p, "%s", SYSTEM_MISSING);
	}
	p->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	p->active = true;
	return configure_device(p);
}

// attach_anew attaches an active handle as another listener. On an error it goes on as the old.
static int attach_anew(pcap_t *p)
{
	struct queue *old = p->queues;
	unsigned n = p->n;
	int code = configure(p);
	if (code)
		return code;
	p->queues = NULL;
	p->n = 0;
	code = attach_all(p);
	struct queue *fresh = p->queues;
	unsigned m = p->n;
	p->queues = old;
	p->n = n;
	if (code)
		return code;
	read_end(p);
	detach(p);
	p->queues = fresh;
	p->n = m;
	p->horizon = p->waiting = p->gathered = 0;
	p->keeping = NULL;
	p->ended = false;
	return 0;
}

// fanout_anew makes an active handle a member of another group. On an error it stays as
// it was, with its settings.
static int fanout_anew(pcap_t *p, int group, const char *fanout)
{
	struct ixcap_fanout *asked = p->asked;
	struct ixcap_settings *settings = p->settings;
	int asked_group = p->asked_group, snaplen = p->snaplen;
	p->asked = NULL;
	p->settings = NULL;
	int code = configure_fanout(p, group, fanout);
	if (code == 0)
		code = attach_anew(p);
	free(code ? p->asked : asked);
	free(code ? p->settings : settings);
	if (code) {
		p->asked = asked;
		p->settings = settings;
		p->asked_group = asked_group;
		p->snaplen = snaplen;
	}
	return code;
}

int pcap_fanout(pcap_t *p, int group, const char *fanout)
{
	if (!ours(p))
		return system_fanout(p, group, fanout) ? -1 : 0;
	return (p->active ? fanout_anew : configure_fanout)(p, group, fanout) ? -1 : 0;
}

pcap_t *pcap_open_live(const char *device, int snaplen, int promisc, int timeout, char *error)
{
	if (!device_ours(device)) {
		if (real.pcap_open_live)
			return system_open_live(device, snaplen, promisc, timeout, error);
		snprintf(error, PCAP_ERRBUF_SIZE, "%s", SYSTEM_MISSING);
		return NULL;
	}
	pcap_t *p = pcap_create(device, error);
	if (!p)
		return NULL;
	pcap_set_snaplen(p, snaplen);
	pcap_set_promisc(p, promisc);
	pcap_set_timeout(p, timeout);
	int code = pcap_activate(p);
	if (code > 0)
		snprintf(error, PCAP_ERRBUF_SIZE, "%s", p->error);
	if (code >= 0)
		return p;
	snprintf(error, PCAP_ERRBUF_SIZE, "%.60s: %.190s", p->device, *p->error ? p->error : pcap_statustostr(code));
	pcap_close(p);
	return NULL;
}

void pcap_close(pcap_t *p)
{
	if (!ours(p)) {
		system_close(p);
		return;
	}
	read_end(p);
	detach(p);
	if (p->companion)
		real.pcap_close(p->companion);
	if (p->timer >= 0)
		close(p->timer);
	if (p->wake >= 0)
		close(p->wake);
	free(p->filter.bf_insns);
	free(p->matcher);
	free(p->device);
	free(p->settings);
	free(p->asked);
	p->magic = 0;
	free(p);
}

int pcap_dispatch(pcap_t *p, int limit, pcap_handler f, u_char *user)
{
	if (!ours(p))
		return real.pcap_dispatch(p, limit, f, user);
	if (!p->active)
		return not_activated(p);
	if (p->ended)  // the call before returned 0
		return PCAP_ERROR_BREAK;
	int n = read_frames(p, limit > 0 ? (unsigned)limit : 0, f, user);
	return n == READ_ENDED ? 0 : n;
}

int pcap_loop(pcap_t *p, int limit, pcap_handler f, u_char *user)
{
	if (!ours(p))
		return real.pcap_loop(p, limit, f, user);
	if (!p->active)
		return not_activated(p);
	bool all = limit <= 0;
	while (all || limit > 0) {
		int n = read_frames(p, all ? 0 : (unsigned)limit, f, user);
		if (n == READ_ENDED)
			return 0;
		if (n < 0)
			return n;
		limit -= all ? 0 : n;
	}
	return 0;
}

int pcap_next_ex(pcap_t *p, struct pcap_pkthdr **h, const u_char **data)
{
	if (!ours(p))
		return real.pcap_next_ex(p, h, data);
	if (!p->active)
		return not_activated(p);
	*h = &p->header;
	int n = read_frames(p, 1, NULL, NULL);
	if (n == 1)
		*data = p->kept;
	return n == READ_ENDED ? PCAP_ERROR_BREAK : n;
}

const u_char *pcap_next(pcap_t *p, struct pcap_pkthdr *h)
{
	if (!ours(p))
		return real.pcap_next(p, h);
	if (!p->active) {
		not_activated(p);
		return NULL;
	}
	if (read_frames(p, 1, NULL, NULL) != 1)
		return NULL;
	*h = p->header;
	return p->kept;
}

void pcap_breakloop(pcap_t *p)
{
	if (!ours(p)) {
		real.pcap_breakloop(p);
		return;
	}
	// A signal handler may call this.
	int error = errno;
	atomic_store(&p->broken, true);
	if (p->wake >= 0)
		(void)!write(p->wake, &(uint64_t){1}, sizeof(uint64_t));
	errno = error;
}

// missed_by_port returns what the queue's port has missed since the handle was activated,
// or 0 if another queue of the port has told it.
static uint64_t missed_by_port(const pcap_t *p, const struct queue *q)
{
	for (const struct queue *other = p->queues; other < q; other++)
		if (strcmp(other->s.name, q->s.name) == 0)
			return 0;
	return stream_control(&q->s, MISSED) - q->s.missed;
}

int pcap_stats(pcap_t *p, struct pcap_stat *s)
{
	if (!ours(p))
		return real.pcap_stats(p, s);
	if (!p->active)
		return not_activated(p);
	memset(s, 0, sizeof *s);
	for (unsigned i = 0; i < p->n; i++) {
		uint64_t received, dropped;
		read_counts(&p->queues[i], &received, &dropped);
		s->ps_recv += (u_int)received;
		s->ps_drop += (u_int)dropped;
		s->ps_ifdrop += (u_int)missed_by_port(p, &p->queues[i]);
	}
	return 0;
}

int pcap_setfilter(pcap_t *p, struct bpf_program *program)
{
	if (!ours(p))
		return real.pcap_setfilter(p, program);
	if (!p->active)
		return not_activated(p);
	if (!program)
		return handle_error(p, "setfilter: No filter specified");
	if (!filter_valid(program))
		return handle_error(p, "BPF program is not valid");
	struct bpf_insn *copy = malloc(program->bf_len * sizeof *copy);
	if (!copy)
		return handle_error(p, "malloc: %s", strerror(errno));
	memcpy(copy, program->bf_insns, program->bf_len * sizeof *copy);
	read_settle(p);
	free(p->filter.bf_insns);
	free(p->matcher);
	p->filter = (struct bpf_program){program->bf_len, copy};
	p->matcher = matcher_new(&p->filter);
	read_refilter(p);
	return 0;
}

int pcap_setdirection(pcap_t *p, pcap_direction_t d)
{
	if (!ours(p))
		return real.pcap_setdirection(p, d);
	if (!p->active)
		return not_activated(p);
	if (d == PCAP_D_INOUT || d == PCAP_D_IN)
		return 0;
	return handle_error(p, d == PCAP_D_OUT ? "set the direction to out: a capture has received frames only" : "Invalid direction");
}

int pcap_getnonblock(pcap_t *p, char *error)
{
	if (!ours(p))
		return real.pcap_getnonblock(p, error);
	(void)error;
	return p->active ? p->nonblock : not_activated(p);
}

int pcap_setnonblock(pcap_t *p, int on, char *error)
{
	if (!ours(p))
		return real.pcap_setnonblock(p, on, error);
	p->nonblock = on;  // before pcap_activate, too, as libpcap does on Linux
	return 0;
}

int pcap_inject(pcap_t *p, const void *data, size_t n)
{
	if (!ours(p))
		return real.pcap_inject(p, data, n);
	if (!p->active)
		return not_activated(p);
	return handle_error(p, "send on %s: a capture's port receives only. Send on the interface itself, without ixcap.", p->device);
}

int pcap_sendpacket(pcap_t *p, const u_char *data, int n)
{
	if (!ours(p))
		return real.pcap_sendpacket(p, data, n);
	return pcap_inject(p, data, (size_t)n) == PCAP_ERROR ? PCAP_ERROR : 0;  // 0 before pcap_activate, as libpcap has it
}

char *pcap_geterr(pcap_t *p) { return ours(p) ? p->error : real.pcap_geterr(p); }

void pcap_perror(pcap_t *p, const char *prefix)
{
	if (ours(p))
		fprintf(stderr, "%s: %s\n", prefix, p->error);
	else
		real.pcap_perror(p, prefix);
}

int pcap_compile(pcap_t *p, struct bpf_program *program, const char *text, int optimize, bpf_u_int32 mask)
{
	if (!ours(p))
		return real.pcap_compile(p, program, text, optimize, mask);
	if (!p->active)
		return handle_error(p, "not-yet-activated pcap_t passed to pcap_compile");
	int code = real.pcap_compile(p->companion, program, text, optimize, mask);
	if (code < 0)
		handle_error(p, "%s", real.pcap_geterr(p->companion));
	return code;
}

// PROPERTY is what an activated handle of ours always has.
#define PROPERTY(name, value) \
	int name(pcap_t *p) \
	{ \
		if (!ours(p)) \
			return real.name(p); \
		return p->active ? (value) : not_activated(p); \
	}

PROPERTY(pcap_datalink, DLT_EN10MB)
PROPERTY(pcap_datalink_ext, 0)
PROPERTY(pcap_snapshot, p->snaplen)
PROPERTY(pcap_is_swapped, 0)
PROPERTY(pcap_major_version, 0)
PROPERTY(pcap_minor_version, 0)
PROPERTY(pcap_bufsize, (int)(p->queues->s.bytes > INT32_MAX ? INT32_MAX : p->queues->s.bytes))

int pcap_list_datalinks(pcap_t *p, int **list)
{
	if (!ours(p))
		return real.pcap_list_datalinks(p, list);
	return p->active ? list_of(p, DLT_EN10MB, list) : not_activated(p);
}

int pcap_set_datalink(pcap_t *p, int type)
{
	if (!ours(p))
		return real.pcap_set_datalink(p, type);
	if (p->active && type == DLT_EN10MB)
		return 0;
	const char *name = pcap_datalink_val_to_name(type);
	if (name)
		return handle_error(p, "%s is not one of the DLTs supported by this device", name);
	return handle_error(p, "DLT %d is not one of the DLTs supported by this device", type);
}

FILE *pcap_file(pcap_t *p) { return ours(p) ? NULL : real.pcap_file(p); }

int pcap_get_selectable_fd(pcap_t *p)
{
	if (!ours(p))
		return real.pcap_get_selectable_fd(p);
	return p->active ? read_descriptor(p) : PCAP_ERROR;
}

int pcap_fileno(pcap_t *p) { return ours(p) ? pcap_get_selectable_fd(p) : real.pcap_fileno(p); }

const struct timeval *pcap_get_required_select_timeout(pcap_t *p)
{
	return ours(p) ? NULL : real.pcap_get_required_select_timeout(p);
}

// dump_of makes a savefile by the companion, which has the handle's properties.
static pcap_dumper_t *dump_of(pcap_t *p, pcap_dumper_t *d)
{
	if (!d)
		handle_error(p, "%s", real.pcap_geterr(p->companion));
	return d;
}

pcap_dumper_t *pcap_dump_open(pcap_t *p, const char *file)
{
	if (!ours(p))
		return real.pcap_dump_open(p, file);
	if (p->active)
		return dump_of(p, real.pcap_dump_open(p->companion, file));
	handle_error(p, "%s: not-yet-activated pcap_t passed to pcap_dump_open", file);
	return NULL;
}

pcap_dumper_t *pcap_dump_open_append(pcap_t *p, const char *file)
{
	if (!ours(p))
		return real.pcap_dump_open_append(p, file);
	if (p->active)
		return dump_of(p, real.pcap_dump_open_append(p->companion, file));
	handle_error(p, "%s: not-yet-activated pcap_t passed to pcap_dump_open_append", file);
	return NULL;
}

pcap_dumper_t *pcap_dump_fopen(pcap_t *p, FILE *file)
{
	if (!ours(p))
		return real.pcap_dump_fopen(p, file);
	if (p->active)
		return dump_of(p, real.pcap_dump_fopen(p->companion, file));
	handle_error(p, "stream: not-yet-activated pcap_t passed to pcap_dump_fopen");
	return NULL;
}

// add_port appends a port to the list of devices, whose memory pcap_freealldevs frees.
static void add_port(const char *device, const char *folder, void *user)
{
	pcap_if_t **end = user, *one = calloc(1, sizeof *one);
	char text[PCAP_ERRBUF_SIZE];
	if (!one)
		return;
	snprintf(text, sizeof text, "port of the capture in %s", folder);
	one->name = strdup(device);
	one->description = strdup(text);
	one->flags = PCAP_IF_UP | PCAP_IF_RUNNING | PCAP_IF_CONNECTION_STATUS_UNKNOWN;
	while (*end)
		end = &(*end)->next;
	*end = one;
}

int pcap_findalldevs(pcap_if_t **all, char *error)
{
	int code = 0;
	*all = NULL;
	*error = 0;
	if (!device_ours(NULL) && real.pcap_findalldevs)  // under PCAP_DRIVER no other can be opened
		code = real.pcap_findalldevs(all, error);
	if (code == 0)
		device_each(add_port, all);
	return code;
}

int pcap_lookupnet(const char *device, bpf_u_int32 *net, bpf_u_int32 *mask, char *error)
{
	if (!device_ours(device) && real.pcap_lookupnet)
		return real.pcap_lookupnet(device, net, mask, error);
	*net = *mask = 0;
	return 0;
}
