#include <ctype.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "config.h"

#define OPTIONS "weight, tunnels, threshold, departed, member"
#define MODES "hash, lb, rnd, cpu, rollover, qm, consistent, filter, buddy"

// Modes by name; those of PF_RING are mapped. packet: PACKET_FANOUT_* of linux/if_packet.h or -1.
static const struct mode {
	const char *name, *mode, *tunnels;
	int packet;
} modes[] = {
	{"hash", "hash", "", PACKET_FANOUT_HASH},
	{"lb", "lb", "", PACKET_FANOUT_LB},
	{"rnd", "rnd", "", PACKET_FANOUT_RND},
	{"cpu", "cpu", "", PACKET_FANOUT_CPU},
	{"rollover", "rollover", "", PACKET_FANOUT_ROLLOVER},
	{"qm", "qm", "", PACKET_FANOUT_QM},
	{"consistent", "consistent", "", -1},
	{"filter", "filter", "", -1},
	{"buddy", "buddy", "", -1},
	{"flow", "hash", "", 0},
	{"flow_5_tuple", "hash", "", 0},
	{"inner_flow", "hash", "gre,vxlan,gtpu", 0},
	{"inner_flow_5_tuple", "hash", "gre,vxlan,gtpu", 0},
	{"round_robin", "lb", "", 0},
};

// Functions of PFQ-Lang that steer, and the mode that does the same.
static const struct steer {
	const char *name, *mode;
} steers[] = {
	{"steer_flow", "hash"},
	{"steer_rrobin", "lb"},
};

static const struct mode *find_mode(const char *name, size_t length)
{
	for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
		if (strlen(modes[i].name) == length && strncasecmp(modes[i].name, name, length) == 0)
			return &modes[i];
	return NULL;
}

void ixcap_warn(char *warning, const char *format, ...)
{
	size_t used = strlen(warning);
	if (used > 0 && used + 2 < PCAP_ERRBUF_SIZE) {
		memcpy(warning + used, "; ", 3);
		used += 2;
	}
	va_list args;
	va_start(args, format);
	vsnprintf(warning + used, PCAP_ERRBUF_SIZE - used, format, args);
	va_end(args);
}

__attribute__((format(printf, 2, 3))) static int fail(char *errbuf, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(errbuf, PCAP_ERRBUF_SIZE, format, args);
	va_end(args);
	return -1;
}

int ixcap_number(const char *text, long low, long high, long *number)
{
	char *end;
	if (!isdigit((unsigned char)text[0]))
		return -1;
	errno = 0;
	long n = strtol(text, &end, 10);
	if (errno != 0 || *end != 0 || n < low || n > high)
		return -1;
	*number = n;
	return 0;
}

int ixcap_cpus_parse(const char *text, cpu_set_t *cpus)
{
	CPU_ZERO(cpus);
	for (const char *at = text;;) {
		char *end;
		if (!isdigit((unsigned char)*at))
			return -1;
		errno = 0;
		unsigned long first = strtoul(at, &end, 10), last = first;
		if (*end == '-') {
			at = end + 1;
			if (!isdigit((unsigned char)*at))
				return -1;
			last = strtoul(at, &end, 10);
		}
		if (errno != 0 || last < first || last >= CPU_SETSIZE)
			return -1;
		for (; first <= last; first++)
			CPU_SET(first, cpus);
		while (*end == ' ' || *end == '\t')
			end++;
		if (*end == 0)
			return 0;
		if (*end != ',')
			return -1;
		for (at = end + 1; *at == ' ' || *at == '\t'; at++)
			;
	}
}

int ixcap_cpus_print(const cpu_set_t *cpus, char *text, size_t size)
{
	size_t used = 0;
	text[0] = 0;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, cpus))
			continue;
		int last = cpu;
		while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, cpus))
			last++;
		const char *comma = used > 0 ? "," : "";
		int n = last > cpu ? snprintf(text + used, size - used, "%s%d-%d", comma, cpu, last)
		                   : snprintf(text + used, size - used, "%s%d", comma, cpu);
		used += (size_t)n;
		if (used >= size)
			return -1;
		cpu = last;
	}
	return used > 0 ? 0 : -1;
}

// Copy length bytes without the white space around them. -1: they do not fit or do not print.
static int copy_trimmed(char *to, size_t size, const char *from, size_t length)
{
	while (length > 0 && isspace((unsigned char)*from))
		from++, length--;
	while (length > 0 && isspace((unsigned char)from[length - 1]))
		length--;
	if (length >= size)
		return -1;
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)from[i] < ' ' || from[i] == 127)
			return -1;
	memcpy(to, from, length);
	to[length] = 0;
	return 0;
}

// Tunnels by the names of the request's text, joined by commas or +; vlan and qinq are always looked through.
static int set_tunnels(struct ixcap_fanout *fanout, const char *value, char *errbuf)
{
	static const char *const known[] = {"vlan", "qinq", "mpls", "gre", "vxlan", "gtpu", "ipip", "all", "none"};
	enum { KNOWN = sizeof known / sizeof known[0] };
	char tunnels[sizeof fanout->tunnels] = "";
	int seen[KNOWN] = {0};
	for (const char *at = value; *at != 0;) {
		size_t n = strcspn(at, "+, \t"), i = 0;
		while (i < KNOWN && (strlen(known[i]) != n || strncasecmp(known[i], at, n) != 0))
			i++;
		if (n > 0 && i == KNOWN)
			return fail(errbuf, "tunnel \"%.*s\" is unknown. Possible: vlan, mpls, gre, vxlan, gtpu, ipip, or all, or none.", n > 30 ? 30 : (int)n, at);
		if (n > 0 && !seen[i]++) {
			strcat(tunnels, tunnels[0] != 0 ? "," : "");
			strcat(tunnels, known[i]);
		}
		at += n + (at[n] != 0);
	}
	memcpy(fanout->tunnels, tunnels, sizeof tunnels);
	return 0;
}

int ixcap_fanout_option(struct ixcap_fanout *fanout, const char *key, const char *value, char *errbuf)
{
	if (strcmp(key, "tunnels") == 0)
		return set_tunnels(fanout, value, errbuf);
	if (strcmp(key, "weight") == 0) {
		long n;
		if (ixcap_number(value, 1, 255, &n) != 0)
			return fail(errbuf, "weight \"%.30s\" is no number from 1 to 255.", value);
		fanout->weight = (unsigned)n;
		return 0;
	}
	if (strcmp(key, "threshold") == 0) {
		long n;
		if (ixcap_number(value, 1, 100, &n) != 0)
			return fail(errbuf, "threshold \"%.30s\" is no number from 1 to 100.", value);
		fanout->threshold = (unsigned)n;
		return 0;
	}
	if (strcmp(key, "departed") == 0) {
		if (strcmp(value, "redistribute") != 0 && strcmp(value, "count") != 0)
			return fail(errbuf, "departed \"%.30s\" is unknown. Possible: redistribute, count.", value);
		strcpy(fanout->departed, value);
		return 0;
	}
	if (strcmp(key, "member") == 0) {
		if (value[0] == 0 || copy_trimmed(fanout->member, sizeof fanout->member, value, strlen(value)) != 0)
			return fail(errbuf, "member \"%.30s\" is no name of 1 to %zu bytes.", value, sizeof fanout->member - 1);
		return 0;
	}
	return fail(errbuf, "option \"%.30s\" is unknown. Possible: " OPTIONS ".", key);
}

// Parse the options behind the mode; a filter's expression is all that is no option.
static int parse_options(const char *at, struct ixcap_fanout *fanout, char *errbuf)
{
	while (*at == ',') {
		char key[16] = "", value[128];
		at += 1 + strspn(at + 1, " \t");
		size_t n = strspn(at, "abcdefghijklmnopqrstuvwxyz");
		size_t eq = n + strspn(at + n, " \t");
		int option = at[eq] == '=' && n > 0 && n < sizeof key;
		if (option)
			memcpy(key, at, n);
		if (strcmp(fanout->mode, "filter") == 0 && strcmp(key, "weight") != 0 && strcmp(key, "tunnels") != 0 &&
		    strcmp(key, "departed") != 0 && strcmp(key, "member") != 0) {
			if (copy_trimmed(fanout->filter, sizeof fanout->filter, at, strlen(at)) != 0)
				return fail(errbuf, "the filter's expression has more than %zu bytes or several lines.", sizeof fanout->filter - 1);
			break;
		}
		if (!option)
			return fail(errbuf, "\"%.30s\" is no option=value. Possible: " OPTIONS ".", at);
		if (strcmp(key, "threshold") == 0 && strcmp(fanout->mode, "buddy") != 0)
			return fail(errbuf, "mode %s has no threshold, only buddy has.", fanout->mode);
		at += eq + 1;
		n = strcspn(at, ",");
		if (copy_trimmed(value, sizeof value, at, n) != 0)
			return fail(errbuf, "the value of %s has more than %zu bytes or several lines.", key, sizeof value - 1);
		if (ixcap_fanout_option(fanout, key, value, errbuf) != 0)
			return -1;
		at += n;
	}
	if (strcmp(fanout->mode, "filter") == 0 && fanout->filter[0] == 0)
		return fail(errbuf, "mode filter needs an expression: filter, udp port 53");
	return 0;
}

// Map a PFQ program by the function in it that steers; functions that filter are named.
static int parse_program(const char *text, struct ixcap_fanout *fanout, char *warning, char *errbuf)
{
	const char *mode = NULL;
	for (const char *at = text; *at != 0;) {
		size_t n = strspn(at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_'");
		int length = n > 30 ? 30 : (int)n;
		if (n == 0) {
			at++;
			continue;
		}
		if (n > 6 && strncmp(at, "steer_", 6) == 0) {
			for (size_t i = 0; i < sizeof steers / sizeof steers[0]; i++)
				if (strlen(steers[i].name) == n && strncmp(at, steers[i].name, n) == 0)
					mode = steers[i].mode;
			if (mode == NULL)
				return fail(errbuf, "PFQ function %.*s has no counterpart. Possible: steer_flow, steer_rrobin, or fanout = MODE (" MODES ").", length, at);
		} else if (!(n == 4 && strncmp(at, "main", 4) == 0) && !(n == 2 && strncmp(at, "do", 2) == 0)) {
			ixcap_warn(warning, "PFQ function %.*s is left out: give the program a filter", length, at);
		}
		at += n;
	}
	if (mode == NULL)
		return fail(errbuf, "the PFQ program has no function that steers. Possible: steer_flow, steer_rrobin, or fanout = MODE (" MODES ").");
	strcpy(fanout->mode, mode);
	return 0;
}

static int is_program(const char *text)
{
	text += strspn(text, " \t\n");
	if (strncmp(text, "main", 4) != 0)
		return 0;
	text += 4 + strspn(text + 4, " \t");
	return *text == '=';
}

int ixcap_fanout_parse(const char *text, struct ixcap_fanout *fanout, char *warning, char *errbuf)
{
	if (is_program(text))
		return parse_program(text, fanout, warning, errbuf);
	text += strspn(text, " \t");
	size_t n = strcspn(text, "+, \t\n");
	const struct mode *mode = find_mode(text, n);
	if (mode == NULL)
		return fail(errbuf, "mode \"%.*s\" is unknown. Possible: " MODES ".", n > 30 ? 30 : (int)n, text);
	if (strcmp(mode->name, mode->mode) != 0)
		ixcap_warn(warning, "mode %s of PF_RING is read as %s", mode->name, mode->mode);
	strcpy(fanout->mode, mode->mode);
	if (mode->tunnels[0] != 0)
		strcpy(fanout->tunnels, mode->tunnels);
	for (text += n; *text == '+'; text += n) {
		n = 1 + strcspn(text + 1, "+, \t");
		if (n == 7 && strncasecmp(text, "+defrag", 7) == 0)
			fanout->defrag = 1;
		else if (n == 9 && strncasecmp(text, "+rollover", 9) == 0)
			fanout->rollover = 1;
		else
			return fail(errbuf, "flag \"%.*s\" is unknown. Possible: +defrag, +rollover.", n > 30 ? 30 : (int)n, text);
	}
	text += strspn(text, " \t");
	if (*text != 0 && *text != ',')
		return fail(errbuf, "\"%.30s\" follows the mode. A comma separates options: %s, weight=2", text, fanout->mode);
	return parse_options(text, fanout, errbuf);
}

// Append key=value and a line's end; nothing for an empty value.
static int line(char *text, size_t size, int used, const char *key, const char *value)
{
	if (used < 0 || value[0] == 0)
		return used;
	int n = snprintf(text + used, size - (size_t)used, "%s=%s\n", key, value);
	return n < 0 || (size_t)(used + n) >= size ? -1 : used + n;
}

int ixcap_fanout_request(const struct ixcap_fanout *fanout, int group, char *text, size_t size, char *errbuf)
{
	char number[16], weight[16] = "", threshold[16] = "";
	if (group < 0 || group > IXCAP_GROUP_MAX)
		return fail(errbuf, "group %d: not from 0 to %d.", group, IXCAP_GROUP_MAX);
	if (fanout->rollover)
		return fail(errbuf, "%s+rollover: packet sockets of the system have this flag, a shared stream has not.", fanout->mode);
	snprintf(number, sizeof number, "%d", group);
	if (fanout->weight > 0)
		snprintf(weight, sizeof weight, "%u", fanout->weight);
	if (fanout->threshold > 0 && (fanout->mode[0] == 0 || strcmp(fanout->mode, "buddy") == 0))
		snprintf(threshold, sizeof threshold, "%u", fanout->threshold);
	int used = line(text, size, 0, "group", number);
	used = line(text, size, used, "mode", fanout->mode);
	used = line(text, size, used, "member", fanout->member);
	used = line(text, size, used, "weight", weight);
	used = line(text, size, used, "filter", strcmp(fanout->mode, "filter") == 0 ? fanout->filter : "");
	used = line(text, size, used, "tunnels", fanout->tunnels);
	used = line(text, size, used, "threshold", threshold);
	used = line(text, size, used, "departed", fanout->departed);
	return used >= 0 ? used : fail(errbuf, "group %d: the request has more than %zu bytes.", group, size - 1);
}

int ixcap_fanout_packet(int fd, int group, const struct ixcap_fanout *fanout, char *errbuf)
{
	const char *name = fanout->mode[0] != 0 ? fanout->mode : "hash";
	const struct mode *mode = find_mode(name, strlen(name));
	if (group < 0 || group > IXCAP_GROUP_MAX)
		return fail(errbuf, "group %d: not from 0 to %d.", group, IXCAP_GROUP_MAX);
	if (mode == NULL || mode->packet < 0)
		return fail(errbuf, "mode %s: packet sockets of the system have hash, lb, rnd, cpu, rollover, qm.", name);
	if (fanout->weight > 0 || fanout->threshold > 0 || fanout->tunnels[0] != 0 || fanout->departed[0] != 0 || fanout->member[0] != 0)
		return fail(errbuf, "group %d: packet sockets of the system have no " OPTIONS ".", group);
	unsigned type = (unsigned)mode->packet;
	if (fanout->defrag)
		type |= PACKET_FANOUT_FLAG_DEFRAG;
	if (fanout->rollover)
		type |= PACKET_FANOUT_FLAG_ROLLOVER;
	unsigned value = (unsigned)group | type << 16;
	if (setsockopt(fd, SOL_PACKET, PACKET_FANOUT, &value, sizeof value) != 0)
		return fail(errbuf, "join group %d as %s: %s. All members of a group need one mode and one device.", group, name, strerror(errno));
	return 0;
}
