#include "device.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PREFIX "ixcap:"

// Where hpcapdd puts its sockets, unless IXCAP_SHARE names other folders.
#define SHARE_FOLDERS "/run/ixcap/share:/run/ixcap"

static const char *share(void)
{
	const char *folders = secure_getenv("IXCAP_SHARE");
	return folders && *folders ? folders : SHARE_FOLDERS;
}

bool device_ours(const char *device) { return ixcap_device_names(device ? device : "any"); }

// queue_of returns the length of the port's name in the file name NAME-queueN.sock or
// queueN.sock, or -1 for any other.
static int queue_of(const char *file)
{
	const char *at = file, *queue = NULL;
	while ((at = strstr(at, "queue")))
		queue = at++;
	if (!queue || (queue > file && queue[-1] != '-'))
		return -1;
	size_t digits = strspn(queue + 5, "0123456789");
	if (digits == 0 || strcmp(queue + 5 + digits, ".sock") != 0)
		return -1;
	return queue == file ? 0 : (int)(queue - file - 1);
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strverscmp((*a)->d_name, (*b)->d_name); }

static int is_queue(const struct dirent *d) { return queue_of(d->d_name) >= 0; }

// take adds the socket file of a folder. A path that is too long cannot be a socket's.
static void take(struct device_sockets *found, const char *folder, const char *file, const char *interface)
{
	struct device_socket *s = &found->at[found->n];
	if (found->n == MAX_QUEUES || snprintf(s->path, sizeof s->path, "%s%s%s", folder, *file ? "/" : "", file) >= (int)sizeof s->path)
		return;
	snprintf(s->interface, sizeof s->interface, "%s", interface);
	found->n++;
}

// What a capture puts in front of the name of an interface (docs/PORTS.md).
static const char *const schemes[] = {"xdp", "packet"};

// label writes what stands for a device in the names of its files: archive.Label in Go.
static void label(char *to, size_t room, const char *scheme, const char *device)
{
	snprintf(to, room, "%s%s%.*s", scheme, *scheme ? "_" : "", (int)strcspn(device, ","), device);
	for (; *to; to++)
		if (!isalnum((unsigned char)*to) && !strchr("._-", *to))
			*to = '_';
}

bool device_names(const char *asked, const char *device)
{
	size_t n = strcspn(device, ","), length = strlen(asked);
	if (strcmp(asked, device) == 0 || (length == n && strncmp(asked, device, n) == 0))
		return true;
	char files[256];
	label(files, sizeof files, "", device);
	if (strcmp(asked, files) == 0)
		return true;
	for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
		size_t before = strlen(schemes[i]);
		if (strncmp(device, schemes[i], before) == 0 && device[before] == ':' && length == n - before - 1 && strncmp(asked, device + before + 1, length) == 0)
			return true;
	}
	return false;
}

// scan adds the sockets of a folder that belong to the port; without a name, all.
// The port's name stands in the files as it is or as a label. A capture of one port may
// have no name in its files: then the stream has it.
static void scan(struct device_sockets *found, const char *folder, const char *port)
{
	struct dirent **list;
	enum { NAMES = 4 };
	char names[NAMES][256];
	int n = scandir(folder, &list, is_queue, by_name);
	unsigned before = found->n;
	snprintf(names[0], sizeof names[0], "%s", port);
	label(names[1], sizeof names[1], "", port);
	for (int i = 2; i < NAMES; i++)
		label(names[i], sizeof names[i], schemes[i - 2], port);
	for (int pass = 0; pass <= NAMES && found->n == before; pass++)
		for (int i = 0; i < n; i++) {
			const char *file = list[i]->d_name;
			size_t named = (size_t)queue_of(file);
			bool equal = pass < NAMES && named == strlen(names[pass]) && strncmp(file, names[pass], named) == 0;
			if (!*port || equal)
				take(found, folder, file, "");
			else if (pass == NAMES && named == 0)
				take(found, folder, file, port);
		}
	for (int i = 0; i < n; i++)
		free(list[i]);
	if (n >= 0)
		free(list);
}

// each_folder calls scan for the share folders until one has sockets.
static void each_folder(struct device_sockets *found, const char *port)
{
	char folders[4096], *rest = NULL;
	unsigned before = found->n;
	snprintf(folders, sizeof folders, "%s", share());
	for (char *one = strtok_r(folders, ":", &rest); one && found->n == before; one = strtok_r(NULL, ":", &rest))
		scan(found, one, port);
}

// one adds the sockets of a single name.
static void one(struct device_sockets *found, const char *name)
{
	struct stat st;
	char folder[4096];
	snprintf(folder, sizeof folder, "%s", name);
	char *slash = strrchr(folder, '/');
	if (!slash)
		each_folder(found, strcmp(name, "any") == 0 ? "" : name);
	else if (stat(name, &st) == 0 && S_ISDIR(st.st_mode))
		scan(found, name, "");
	else if (queue_of(slash + 1) >= 0)
		take(found, name, "", "");
	else {
		*slash = 0;
		scan(found, *folder ? folder : "/", slash + 1);
	}
}

enum { LISTED = 100 };  // bytes of the ports that an error lists

// list_port appends a port to the list, if there is room.
static void list_port(const char *device, const char *folder, void *user)
{
	char *list = user;
	size_t used = strlen(list);
	(void)folder;
	if (used + strlen(device) + 3 < LISTED)
		snprintf(list + used, LISTED - used, "%s%s", used ? ", " : "", device);
}

// no_such_port says which ports there are, or how there is one.
static void no_such_port(const char *name, char *text, size_t room)
{
	char list[LISTED] = "";
	device_each(list_port, list);
	if (*list)
		snprintf(text, room, "no capture shares a port %.60s. Shared are %s. Start another with hpcapdd --share DIR.", name, list);
	else
		snprintf(text, room, "no capture shares a port %s in %s. Start one with hpcapdd --share DIR, and set IXCAP_SHARE to the folder.", name, share());
}

unsigned device_find(const struct ixcap_settings *settings, struct device_sockets *found, char *text, size_t room)
{
	found->n = 0;
	for (int i = 0; i < settings->ndevices; i++) {
		const char *name = settings->devices[i].name;
		unsigned before = found->n;
		if (*name)
			one(found, name);
		for (unsigned k = before; k < found->n; k++)
			found->at[k].device = (unsigned)i;
		if (found->n > before)
			continue;
		if (!*name)
			snprintf(text, room, "the device has no name of a port or a folder. Write ixcap:NAME.");
		else if (strchr(name, '/'))
			snprintf(text, room, "%s has no socket of a capture. Start one with hpcapdd --share DIR.", name);
		else
			no_such_port(name, text, room);
		return 0;
	}
	return found->n;
}

static void each_port(const char *folder, void (*f)(const char *, const char *, void *), void *user)
{
	struct dirent **list;
	char device[4200], last[4200] = "";
	int n = scandir(folder, &list, is_queue, by_name);
	for (int i = 0; i < n; i++) {
		int named = queue_of(list[i]->d_name);
		if (named > 0)
			snprintf(device, sizeof device, PREFIX "%.*s", named, list[i]->d_name);
		else
			snprintf(device, sizeof device, PREFIX "%s", folder);
		if (strcmp(device, last) != 0)
			f(device, folder, user);
		memcpy(last, device, sizeof last);
		free(list[i]);
	}
	if (n >= 0)
		free(list);
}

void device_each(void (*f)(const char *device, const char *folder, void *user), void *user)
{
	char folders[4096], *rest = NULL;
	snprintf(folders, sizeof folders, "%s", share());
	for (char *folder = strtok_r(folders, ":", &rest); folder; folder = strtok_r(NULL, ":", &rest))
		each_port(folder, f, user);
}
