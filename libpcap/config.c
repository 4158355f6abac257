#include <ctype.h>
#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "config.h"

#define FILE_MAX  65536  // bytes of a configuration file
#define ENTRY_MAX 1024  // lines of all files that set a key

const char *ixcap_root = "";

struct entry {
	char *key, *at, *value;  // in the file's text
	int from;  // index of the file
	int line;
};

struct config {
	struct {
		char path[4096];
		char text[FILE_MAX + 2];
		char program[FILE_MAX + 2];  // lines that begin with >
		size_t program_length;
		int program_line;  // the last of them
	} files[2];
	int nfiles;
	struct entry entries[ENTRY_MAX];
	int nentries;
	char *warning;  // of the settings
	char *errbuf;
};

enum at { AT_NONE, AT_GROUP, AT_DEVICE, AT_CHANNEL };

// Keys, what may follow their @, and how their values are checked.
static const struct key {
	const char *name;
	enum at at;
	long low, high;  // of a number; low > high: text
} keys[] = {
	{"def_group", AT_NONE, 0, IXCAP_GROUP_MAX},
	{"fanout", AT_GROUP, 1, 0},
	{"caplen", AT_GROUP, 1, 262144},
	{"policy", AT_GROUP, 1, 0},
	{"copy", AT_GROUP, 0, 1},
	{"weight", AT_GROUP, 1, 0},
	{"tunnels", AT_GROUP, 1, 0},
	{"threshold", AT_GROUP, 1, 0},
	{"departed", AT_GROUP, 1, 0},
	{"member", AT_GROUP, 1, 0},
	{"rx_channels", AT_DEVICE, 1, 65535},
	{"tx_channels", AT_DEVICE, 1, 65535},
	{"combined_channels", AT_DEVICE, 1, 65535},
	{"other_channels", AT_DEVICE, 0, 65535},
	{"irq", AT_CHANNEL, 1, 0},
};

static const char possible[] = "def_group, group_DEV, fanout, caplen, policy, copy, weight, tunnels, threshold, departed, member, "
                               "rx_, tx_, combined_, other_channels@DEV, irq@DEV.N.";

// Keys of PFQ that have no meaning here.
static const char *const others[] = {"rx_slots", "tx_slots", "tx_sync", "tx_hw_queue", "tx_idx_thread", "vlan"};

// Fail with the place of a line in front of the text.
__attribute__((format(printf, 4, 5))) static int fail(struct config *c, int from, int line, const char *format, ...)
{
	size_t n = 0;
	if (line > 0)
		n = (size_t)snprintf(c->errbuf, PCAP_ERRBUF_SIZE, "%.100s:%d: ", c->files[from].path, line);
	va_list args;
	va_start(args, format);
	vsnprintf(c->errbuf + n, PCAP_ERRBUF_SIZE - n, format, args);
	va_end(args);
	return -1;
}

// Put the place of a line in front of the reason that errbuf has.
static int fail_at(struct config *c, int from, int line)
{
	char reason[PCAP_ERRBUF_SIZE];
	memcpy(reason, c->errbuf, sizeof reason);
	return fail(c, from, line, "%s", reason);
}

// Put the variable in front of the reason that errbuf has.
static int fail_env(struct config *c, const char *variable)
{
	char reason[PCAP_ERRBUF_SIZE];
	memcpy(reason, c->errbuf, sizeof reason);
	return fail(c, 0, 0, "environment %s: %s", variable, reason);
}

static char *trim(char *text)
{
	while (isspace((unsigned char)*text))
		text++;
	size_t n = strlen(text);
	while (n > 0 && isspace((unsigned char)text[n - 1]))
		text[--n] = 0;
	return text;
}

static int parse_policy(const char *value, struct ixcap_settings *s, char *errbuf)
{
	const char *all = value;
	long seconds;
	if (strcmp(value, "lossy") == 0) {
		s->policy = IXCAP_LOSSY;
		return 0;
	}
	if (strncmp(value, "lossless", 8) == 0) {
		s->policy = IXCAP_LOSSLESS;
		s->detach_seconds = 0;
		value += 8 + strspn(value + 8, " \t");
		if (*value == 0)
			return 0;
		value += (*value == ',');
		value += strspn(value, " \t");
		if (ixcap_number(value, 1, 86400, &seconds) == 0) {
			s->detach_seconds = (unsigned)seconds;
			return 0;
		}
	}
	snprintf(errbuf, PCAP_ERRBUF_SIZE, "policy \"%.40s\" is unknown. Possible: lossy; lossless; lossless, SECONDS (detached after 1 to 86400 s without reading).", all);
	return -1;
}

// Check a value as it will be used, without keeping it.
static int check_value(struct config *c, const struct key *key, const struct entry *e)
{
	struct ixcap_fanout fanout = {0};
	char warning[PCAP_ERRBUF_SIZE] = "";
	cpu_set_t cpus;
	long n;
	int r = 0;
	if (key->low <= key->high) {
		if (ixcap_number(e->value, key->low, key->high, &n) != 0)
			return fail(c, e->from, e->line, "%s = %.30s: no number from %ld to %ld.", key->name, e->value, key->low, key->high);
		return 0;
	}
	if (strcmp(key->name, "fanout") == 0) {
		r = ixcap_fanout_parse(e->value, &fanout, warning, c->errbuf);
	} else if (strcmp(key->name, "policy") == 0) {
		struct ixcap_settings *s = calloc(1, sizeof *s);
		r = s != NULL ? parse_policy(e->value, s, c->errbuf) : -1;
		free(s);
	} else if (strcmp(key->name, "irq") == 0) {
		if (ixcap_cpus_parse(e->value, &cpus) != 0)
			return fail(c, e->from, e->line, "irq = %.30s: no list of CPUs such as 0, 0-3 or 0,2.", e->value);
	} else {
		r = ixcap_fanout_option(&fanout, key->name, e->value, c->errbuf);
	}
	return r == 0 ? 0 : fail_at(c, e->from, e->line);
}

static int check_at(struct config *c, const struct key *key, const struct entry *e)
{
	const char *name = key->name, *at = e->at, *dot;
	long n;
	switch (key->at) {
	case AT_NONE:
		return at == NULL ? 0 : fail(c, e->from, e->line, "%s@%.30s: this key has no @. Write %s = VALUE.", name, at, name);
	case AT_GROUP:
		if (at == NULL || ixcap_number(at, 0, IXCAP_GROUP_MAX, &n) == 0)
			return 0;
		return fail(c, e->from, e->line, "%s@%.30s: no group from 0 to %d. Write %s@2 = VALUE.", name, at, IXCAP_GROUP_MAX, name);
	case AT_DEVICE:
		if (at != NULL && at[0] != 0)
			return 0;
		return fail(c, e->from, e->line, "%s: of which device? Write %s@eth0 = VALUE.", name, name);
	default:
		dot = at != NULL ? strrchr(at, '.') : NULL;
		if (dot != NULL && dot > at && ixcap_number(dot + 1, 0, IXCAP_IRQS - 1, &n) == 0)
			return 0;
		return fail(c, e->from, e->line, "%s: of which device and channel (0 to %d)? Write %s@eth0.0 = CPUS.", name, IXCAP_IRQS - 1, name);
	}
}

// Of a key that is not ours: 1 if it belongs to another engine and is left out, else -1.
static int foreign(struct config *c, const struct entry *e)
{
	const char *name = strncmp(e->key, "pfq_", 4) == 0 ? e->key + 4 : e->key;
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
		if (strcmp(name, others[i]) == 0) {
			ixcap_warn(c->warning, "%.60s:%d: %s is a setting of PFQ and left out", c->files[e->from].path, e->line, e->key);
			return 1;
		}
	return fail(c, e->from, e->line, "key \"%.30s\" is unknown. Possible: %s", e->key, possible);
}

// 0: the entry is right, 1: it is left out, -1: it is wrong.
static int check(struct config *c, struct entry *e)
{
	long n;
	if (strcmp(e->key, "group") == 0 && e->at == NULL)
		e->key = (char *)"def_group";
	if (e->value[0] == 0)
		return fail(c, e->from, e->line, "%.40s has no value. Write KEY = VALUE.", e->key);
	if (strncmp(e->key, "group_", 6) == 0 && e->key[6] != 0) {
		if (e->at != NULL || ixcap_number(e->value, 0, IXCAP_GROUP_MAX, &n) != 0)
			return fail(c, e->from, e->line, "%.40s = %.30s: no number from 0 to %d.", e->key, e->value, IXCAP_GROUP_MAX);
		return 0;
	}
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
		if (strcmp(e->key, keys[i].name) == 0)
			return check_at(c, &keys[i], e) != 0 || check_value(c, &keys[i], e) != 0 ? -1 : 0;
	return foreign(c, e);
}

// Cut a comment: # at the line's begin or behind white space.
static void cut_comment(char *line)
{
	for (char *at = strchr(line, '#'); at != NULL; at = strchr(at + 1, '#'))
		if (at == line || isspace((unsigned char)at[-1])) {
			*at = 0;
			return;
		}
}

// The lines of a file fit: its text has as many bytes.
static int add_program_line(struct config *c, int from, int number, const char *line)
{
	size_t n = strlen(line);
	char *end = c->files[from].program + c->files[from].program_length;
	memcpy(end, line, n);
	end[n] = '\n';
	c->files[from].program_length += n + 1;
	c->files[from].program_line = number;
	return 0;
}

static int parse_line(struct config *c, int from, int number, char *line)
{
	struct entry e = {.from = from, .line = number};
	if (line[0] == '>') {
		return add_program_line(c, from, number, line + 1);
	}
	cut_comment(line);
	e.key = trim(line);
	if (e.key[0] == 0)
		return 0;
	for (const char *at = e.key; *at != 0; at++)
		if (iscntrl((unsigned char)*at) && *at != '\t')
			return fail(c, from, number, "a control character, byte %d. Lines are KEY[@GROUP] = VALUE.", (unsigned char)*at);
	char *eq = strchr(e.key, '=');
	if (eq == NULL)
		return fail(c, from, number, "\"%.30s\" has no =. Lines are KEY[@GROUP] = VALUE[, VALUE].", e.key);
	*eq = 0;
	e.value = trim(eq + 1);
	char *at = strchr(e.key, '@');
	if (at != NULL) {
		*at = 0;
		e.at = trim(at + 1);
	}
	e.key = trim(e.key);
	if (c->nentries == ENTRY_MAX)
		return fail(c, from, number, "more than %d settings.", ENTRY_MAX);
	int r = check(c, &e);
	if (r == 0)
		c->entries[c->nentries++] = e;
	return r < 0 ? -1 : 0;
}

// The program of a file's > lines is its value of fanout.
static int add_program(struct config *c, int from)
{
	struct ixcap_fanout fanout = {0};
	char *program = c->files[from].program;
	char warning[PCAP_ERRBUF_SIZE] = "";
	if (program[0] == 0)
		return 0;
	if (ixcap_fanout_parse(program, &fanout, warning, c->errbuf) != 0)
		return fail_at(c, from, c->files[from].program_line);
	if (c->nentries == ENTRY_MAX)
		return fail(c, from, c->files[from].program_line, "more than %d settings.", ENTRY_MAX);
	c->entries[c->nentries++] = (struct entry){(char *)"fanout", NULL, program, from, c->files[from].program_line};
	return 0;
}

// Read and parse a file. must: it is an error that there is none.
static int read_file(struct config *c, const char *path, int must)
{
	int from = c->nfiles;
	if ((size_t)snprintf(c->files[from].path, sizeof c->files[from].path, "%s", path) >= sizeof c->files[from].path)
		return fail(c, 0, 0, "read %.60s...: the path is too long.", path);
	FILE *file = fopen(path, "re");
	if (file == NULL) {
		if (!must && (errno == ENOENT || errno == ENOTDIR || errno == EACCES))
			return 0;
		return fail(c, 0, 0, "read %.100s: %s. PCAP_CONFIG names the file.", path, strerror(errno));
	}
	char *text = c->files[from].text;
	errno = 0;
	size_t n = fread(text, 1, FILE_MAX + 1, file);
	int error = ferror(file) ? errno : 0;
	fclose(file);
	if (error != 0)
		return fail(c, 0, 0, "read %.100s: %s.", path, strerror(error));
	if (n > FILE_MAX)
		return fail(c, 0, 0, "read %.100s: more than %d bytes.", path, FILE_MAX);
	if (memchr(text, 0, n) != NULL)
		return fail(c, 0, 0, "read %.100s: a NUL byte, this is no text.", path);
	c->nfiles++;
	char *next = text;
	for (int number = 1; next != NULL; number++)
		if (parse_line(c, from, number, strsep(&next, "\n")) != 0)
			return -1;
	return add_program(c, from);
}

// The user's file: ~ is HOME, or what the user database says.
static int user_file(char *path, size_t size)
{
	char buffer[4096];
	struct passwd user, *found = NULL;
	const char *home = secure_getenv("HOME");
	if (getauxval(AT_SECURE))
		return -1;
	if (home == NULL || home[0] == 0) {
		if (getpwuid_r(getuid(), &user, buffer, sizeof buffer, &found) != 0 || found == NULL)
			return -1;
		home = found->pw_dir;
	}
	return (size_t)snprintf(path, size, "%s/.pcap.conf", home) < size ? 0 : -1;
}

static int read_files(struct config *c)
{
	char path[4096];
	const char *named = secure_getenv("PCAP_CONFIG");
	if (named != NULL && named[0] != 0)
		return read_file(c, named, 1);
	snprintf(path, sizeof path, "%s/etc/pcap.conf", ixcap_root);
	if (read_file(c, path, 0) != 0)
		return -1;
	return user_file(path, sizeof path) == 0 ? read_file(c, path, 0) : 0;
}

// The last line that sets key at this @ (NULL: without).
static const struct entry *find(const struct config *c, const char *key, const char *at)
{
	for (int i = c->nentries - 1; i >= 0; i--) {
		const struct entry *e = &c->entries[i];
		if (strcmp(e->key, key) == 0 && (at == NULL ? e->at == NULL : e->at != NULL && strcmp(e->at, at) == 0))
			return e;
	}
	return NULL;
}

// The last line irq@dev.channel.
static const struct entry *find_irq(const struct config *c, const char *dev, int channel)
{
	size_t n = strlen(dev);
	for (int i = c->nentries - 1; i >= 0; i--) {
		const struct entry *e = &c->entries[i];
		if (strcmp(e->key, "irq") != 0)
			continue;
		const char *dot = strrchr(e->at, '.');
		if ((size_t)(dot - e->at) == n && strncmp(e->at, dev, n) == 0 && atoi(dot + 1) == channel)
			return e;
	}
	return NULL;
}

// A variable whose name ends in a device's. What no shell can export (eth0.5, eth0:1)
// is also found with _ for every character but letters and digits.
__attribute__((format(printf, 3, 4))) static const char *environment(char *name, size_t size, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int n = vsnprintf(name, size, format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= size)
		return NULL;
	const char *value = secure_getenv(name);
	if (value == NULL || value[0] == 0) {
		for (char *at = name; *at != 0; at++)
			if (!isalnum((unsigned char)*at))
				*at = '_';
		value = secure_getenv(name);
	}
	return value != NULL && value[0] != 0 ? value : NULL;
}

// A number of the environment. 1: set, 0: not set, -1: wrong.
static int env_number(struct config *c, const char *name, const char *value, long low, long high, int *number)
{
	long n;
	if (value == NULL)
		return 0;
	if (ixcap_number(value, low, high, &n) != 0)
		return fail(c, 0, 0, "environment %.60s=%.30s: no number from %ld to %ld.", name, value, low, high);
	*number = (int)n;
	return 1;
}

static int env_group(struct config *c, const struct ixcap_device *d, int *group)
{
	char name[512];
	const char *value = NULL;
	if (d->alias >= 0)
		value = environment(name, sizeof name, "PCAP_GROUP_%s:%d", d->name, d->alias);
	if (value == NULL)
		value = environment(name, sizeof name, "PCAP_GROUP_%s", d->name);
	if (value == NULL)
		value = environment(name, sizeof name, "PCAP_GROUP");
	if (value == NULL)
		value = environment(name, sizeof name, "PCAP_DEF_GROUP");
	return env_number(c, name, value, 0, IXCAP_GROUP_MAX, group);
}

static int resolve_group(struct config *c, struct ixcap_device *d)
{
	char key[512];
	const struct entry *e = NULL;
	d->group = -1;
	int r = env_group(c, d, &d->group);
	if (r != 0)
		return r < 0 ? -1 : 0;
	if (d->alias >= 0) {
		snprintf(key, sizeof key, "group_%s:%d", d->name, d->alias);
		e = find(c, key, NULL);
	}
	if (e == NULL) {
		snprintf(key, sizeof key, "group_%s", d->name);
		e = find(c, key, NULL);
	}
	if (e == NULL)
		e = find(c, "def_group", NULL);
	if (e != NULL)
		d->group = atoi(e->value);
	return 0;
}

// The value of a key for a group: environment, the group's own line, the line without @.
static const char *value_of(struct config *c, const char *key, const char *variable, int group, const struct entry **e)
{
	char at[16];
	const char *value = secure_getenv(variable);
	*e = NULL;
	if (value != NULL && value[0] != 0)
		return value;
	snprintf(at, sizeof at, "%d", group);
	for (int i = c->nentries - 1; i >= 0 && *e == NULL; i--)
		if (c->entries[i].at != NULL && strcmp(c->entries[i].key, key) == 0 && atoi(c->entries[i].at) == group)
			*e = &c->entries[i];
	if (*e == NULL)
		*e = find(c, key, NULL);
	return *e != NULL ? (*e)->value : NULL;
}

static int resolve_fanout(struct config *c, struct ixcap_device *d)
{
	static const char *const options[][2] = {{"tunnels", "PCAP_TUNNELS"}, {"departed", "PCAP_DEPARTED"}, {"member", "PCAP_MEMBER"},
	                                         {"weight", "PCAP_WEIGHT"}, {"threshold", "PCAP_THRESHOLD"}};
	const struct entry *e;
	for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
		const char *value = value_of(c, options[i][0], options[i][1], d->group, &e);
		if (value == NULL || ixcap_fanout_option(&d->fanout, options[i][0], value, c->errbuf) == 0)
			continue;
		return fail_env(c, options[i][1]);
	}
	const char *text = value_of(c, "fanout", "PCAP_FANOUT", d->group, &e);
	if (text == NULL)
		return 0;
	if (d->group < 0 && strstr(c->warning, "no group is given") == NULL)
		ixcap_warn(c->warning, "fanout without effect for %.40s: no group is given (def_group, PCAP_GROUP)", d->name);
	if (ixcap_fanout_parse(text, &d->fanout, c->warning, c->errbuf) == 0)
		return 0;
	return fail_env(c, "PCAP_FANOUT");
}

static int resolve_channels(struct config *c, struct ixcap_device *d)
{
	const struct {
		const char *key;
		unsigned *count;
		int bit;
	} kinds[] = {
		{"rx_channels", &d->channels.rx_count, PCAP_RX_CHANNELS},
		{"tx_channels", &d->channels.tx_count, PCAP_TX_CHANNELS},
		{"other_channels", &d->channels.other_count, PCAP_OTHER_CHANNELS},
		{"combined_channels", &d->channels.combined_count, PCAP_COMBINED_CHANNELS},
	};
	for (int i = 0; i < 4; i++) {
		const struct entry *e = find(c, kinds[i].key, d->name);
		if (e == NULL)
			continue;
		*kinds[i].count = (unsigned)atoi(e->value);
		d->channel_mask |= kinds[i].bit;
	}
	char name[512];
	int count = 0;
	int r = env_number(c, name, environment(name, sizeof name, "PCAP_CHANNEL_%s", d->name), 1, 65535, &count);
	if (r > 0) {
		d->channels.combined_count = (unsigned)count;
		d->channel_mask |= PCAP_COMBINED_CHANNELS;
	}
	return r < 0 ? -1 : 0;
}

static int resolve_irqs(struct config *c, struct ixcap_settings *s, int device)
{
	char name[512];
	for (int channel = 0; channel < IXCAP_IRQS; channel++) {
		const char *value = environment(name, sizeof name, "PCAP_IRQ_%s_%d", s->devices[device].name, channel);
		int from_environment = value != NULL;
		if (!from_environment) {
			const struct entry *e = find_irq(c, s->devices[device].name, channel);
			value = e != NULL ? e->value : NULL;
		}
		if (value == NULL)
			continue;
		if (s->nirqs == IXCAP_IRQS)
			return fail(c, 0, 0, "irq: more than %d affinities.", IXCAP_IRQS);
		struct ixcap_irq *irq = &s->irqs[s->nirqs++];
		irq->device = device;
		irq->channel = channel;
		if (ixcap_cpus_parse(value, &irq->cpus) != 0)
			return fail(c, 0, 0, "environment %.60s=%.30s: no list of CPUs such as 0, 0-3 or 0,2.", name, value);
	}
	return 0;
}

// What a whole handle has: capture length and policy, by its first device's group.
static int resolve_handle(struct config *c, struct ixcap_settings *s)
{
	const struct entry *e;
	const char *caplen = value_of(c, "caplen", "PCAP_CAPLEN", s->devices[0].group, &e);
	s->caplen_forced = caplen != NULL && e == NULL;
	if (env_number(c, "PCAP_CAPLEN", caplen, 1, 262144, &s->caplen) < 0)
		return -1;
	const char *copy = value_of(c, "copy", "PCAP_COPY", s->devices[0].group, &e);
	if (env_number(c, "PCAP_COPY", copy, 0, 1, &s->copy) < 0)
		return -1;
	const char *policy = value_of(c, "policy", "PCAP_POLICY", s->devices[0].group, &e);
	return policy == NULL || parse_policy(policy, s, c->errbuf) == 0 ? 0 : fail_env(c, "PCAP_POLICY");
}

// The driver that stands in front of a device's name, else PCAP_DRIVER; NULL: none that ours stands for.
static const char *driver_of(const char *device, size_t *prefix)
{
	static const char *const drivers[] = {"ixcap", "pfq", "pfring"};
	const char *forced = secure_getenv("PCAP_DRIVER");
	const char *found = NULL;
	*prefix = 0;
	for (int i = 0; i < 3; i++) {
		size_t n = strlen(drivers[i]);
		if (strncmp(device, drivers[i], n) == 0 && device[n] == ':') {
			*prefix = n + 1;
			return drivers[i];
		}
		if (forced != NULL && strcmp(forced, drivers[i]) == 0)
			found = drivers[i];
	}
	return found;
}

const char *ixcap_device_names(const char *device)
{
	size_t prefix;
	return driver_of(device, &prefix) != NULL ? device + prefix : NULL;
}

// Split :N from a device's name of n bytes.
static void split_alias(struct ixcap_device *d, const char *name, size_t n)
{
	long alias;
	memcpy(d->name, name, n);
	d->name[n] = 0;
	d->alias = -1;
	char *colon = strrchr(d->name, ':');
	if (colon == NULL || colon == d->name || ixcap_number(colon + 1, 0, 65535, &alias) != 0)
		return;
	d->alias = (int)alias;
	*colon = 0;
}

// Split the devices at ^.
static int split_devices(struct config *c, const char *names, struct ixcap_settings *s)
{
	for (;;) {
		size_t prefix;
		driver_of(names, &prefix);  // ixcap:a^ixcap:b is ixcap:a^b
		names += prefix;
		size_t n = strcspn(names, "^");
		if (s->ndevices == IXCAP_DEVICES)
			return fail(c, 0, 0, "device: more than %d names.", IXCAP_DEVICES);
		if (n >= sizeof s->devices[0].name)
			return fail(c, 0, 0, "device %.40s...: the name has more than %zu bytes.", names, sizeof s->devices[0].name - 1);
		if (n == 0 && (names[n] == '^' || s->ndevices > 0))
			return fail(c, 0, 0, "device: an empty name beside ^. Write ixcap:eth0^eth1.");
		split_alias(&s->devices[s->ndevices++], names, n);
		if (names[n] == 0)
			return 0;
		names += n + 1;
	}
}

// A device of the system's libpcap is one name; what that may be is the system's to say.
static void system_device(const char *name, struct ixcap_settings *s)
{
	size_t n = strlen(name);
	if (n < sizeof s->devices[0].name)
		split_alias(&s->devices[s->ndevices++], name, n);
}

static int resolve(struct config *c, const char *device, struct ixcap_settings *s)
{
	const char *forced = secure_getenv("PCAP_DRIVER");
	size_t prefix;
	const char *driver = driver_of(device, &prefix);
	if (driver == NULL && forced != NULL && forced[0] != 0)
		return fail(c, 0, 0, "environment PCAP_DRIVER=%.30s: unknown. Possible: ixcap; pfq and pfring are read as ixcap.", forced);
	s->ours = driver != NULL;
	if (s->ours && strcmp(driver, "ixcap") != 0)
		ixcap_warn(s->warning, "driver %s is read as ixcap", driver);
	if (!s->ours)
		system_device(device, s);
	else if (split_devices(c, device + prefix, s) != 0)
		return -1;
	if (read_files(c) != 0)
		return -1;
	for (int i = 0; i < s->ndevices; i++) {
		struct ixcap_device *d = &s->devices[i];
		if (resolve_group(c, d) != 0 || resolve_fanout(c, d) != 0 || resolve_channels(c, d) != 0 || resolve_irqs(c, s, i) != 0)
			return -1;
	}
	return s->ndevices > 0 ? resolve_handle(c, s) : 0;
}

int ixcap_settings_resolve(const char *device, struct ixcap_settings *settings, char *errbuf)
{
	memset(settings, 0, sizeof *settings);
	settings->copy = -1;
	errbuf[0] = 0;
	struct config *c = calloc(1, sizeof *c);
	if (c == NULL) {
		snprintf(errbuf, PCAP_ERRBUF_SIZE, "read the configuration: %s.", strerror(errno));
		return -1;
	}
	c->errbuf = errbuf;
	c->warning = settings->warning;
	int r = resolve(c, device, settings);
	free(c);
	return r;
}
