#include "system.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#ifndef MULTIARCH
#define MULTIARCH "."
#endif

struct system real;

struct eproto {
	const char *s;
	u_short p;
};

// Variables of libpcap's ABI. Programs may have copies of them of the size that their
// libpcap had: no more is written.
char pcap_version[7] = "1.10.3";
struct eproto eproto_db[13];

// ixcap_front marks this library, wherever a copy of it stands.
extern const char ixcap_front[];
const char ixcap_front[] = "ixcap";

static char version_text[128];

// own reports whether the file is this library.
static bool own(const char *path)
{
	Dl_info self;
	struct stat a, b;
	return dladdr(ixcap_front, &self) && stat(self.dli_fname, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// load opens the file if it is a libpcap and not a copy of this library.
static void *load(const char *path)
{
	if (own(path))
		return NULL;
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (library && (dlsym(library, "ixcap_front") || !dlsym(library, "pcap_create"))) {
		dlclose(library);
		return NULL;
	}
	return library;
}

static void *find(void)
{
	static const char *const folders[] = {"/usr/lib/" MULTIARCH, "/lib/" MULTIARCH, "/usr/lib64", "/lib64", "/usr/lib", "/lib", "/usr/local/lib"};
	static const char *const names[] = {"libpcap.so.0.8", "libpcap.so.1"};
	const char *asked = secure_getenv("IXCAP_LIBPCAP");
	if (asked && *asked)
		return load(asked);
	for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
		for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
			char path[256];
			snprintf(path, sizeof path, "%s/%s", folders[i], names[k]);
			void *library = load(path);
			if (library)
				return library;
		}
	return NULL;
}

static void copy_variables(void *library)
{
	const char *version = dlsym(library, "pcap_version");
	if (version && strlen(version) < sizeof pcap_version)
		memcpy(pcap_version, version, strlen(version) + 1);
	const struct eproto *table = dlsym(library, "eproto_db");
	for (size_t i = 0; table && i < sizeof eproto_db / sizeof *eproto_db; i++) {
		bool end = table[i].s == NULL;
		eproto_db[i] = (struct eproto){end ? NULL : table[i].s, table[i].p};
		if (end)
			break;
		eproto_db[sizeof eproto_db / sizeof *eproto_db - 1] = (struct eproto){0};
	}
}

// The library is loaded at the start: later the program may have changed its root.
__attribute__((constructor)) static void load_system(void)
{
	void *library = find();
	if (library) {
#define SYSTEM_LOAD(result, name, parameters) *(void **)&real.name = dlsym(library, #name);
		SYSTEM_FUNCTIONS(SYSTEM_LOAD)
#undef SYSTEM_LOAD
		copy_variables(library);
	}
	snprintf(version_text, sizeof version_text, "%s, ixcap", real.pcap_lib_version ? real.pcap_lib_version() : "libpcap version 1.10.3 (none of the system)");
}

const char *pcap_lib_version(void) { return version_text; }
