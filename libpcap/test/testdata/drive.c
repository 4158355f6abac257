// drive calls libpcap as the lines of its standard input say, one answer a line. It is
// linked against the system's libpcap, as programs are, and runs over either library.
//
// An answer begins with the function's result. Where frames were delivered, their number,
// bytes and FNV-1a hash follow: of seconds, fraction, caplen, len and data, little-endian.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <pcap/pcap.h>

static pcap_t *p;
static char error[PCAP_ERRBUF_SIZE], argument[4096];
static uint64_t frames, bytes, hash;
static long breaking, writing;  // the callback breaks the loop at this frame

static void add(const void *data, size_t n)
{
	for (const uint8_t *b = data; n > 0; n--)
		hash = (hash ^ *b++) * UINT64_C(0x100000001b3);
}

static void on_frame(u_char *user, const struct pcap_pkthdr *h, const u_char *data)
{
	uint32_t words[4] = {(uint32_t)h->ts.tv_sec, (uint32_t)h->ts.tv_usec, h->caplen, h->len};
	(void)user;
	add(words, sizeof words);
	add(data, h->caplen);
	frames++;
	bytes += h->caplen;
	if (writing)
		memset((u_char *)data, 0, h->caplen);  // libpcap's memory allows it, and some programs do
	if (breaking && --breaking == 0)
		pcap_breakloop(p);
}

static void clear(void)
{
	frames = bytes = 0;
	hash = UINT64_C(0xcbf29ce484222325);
}

static void counted(long result) { printf("%ld %llu %llu %016llx\n", result, (unsigned long long)frames, (unsigned long long)bytes, (unsigned long long)hash); }

// answer prints a result with the handle's error, if it is one.
static void answer(long result) { printf("%ld%s%s\n", result, result < 0 && p ? " " : "", result < 0 && p ? pcap_geterr(p) : ""); }

static void dispatch(long n) { clear(); counted(pcap_dispatch(p, (int)n, on_frame, NULL)); }

static void loop(long n) { clear(); counted(pcap_loop(p, (int)n, on_frame, NULL)); }

static uint64_t sum, squares;

static void on_numbered(u_char *user, const struct pcap_pkthdr *h, const u_char *data)
{
	uint32_t n;
	memcpy(&n, data + h->caplen - 4, 4);
	n = __builtin_bswap32(n);
	sum += n;
	squares += (uint64_t)n * n;
	on_frame(user, h, data);
}

// numbered is loop over frames that end with their number. The sums of the numbers and of
// their squares follow.
static void numbered(long n)
{
	clear();
	sum = squares = 0;
	long code = pcap_loop(p, (int)n, on_numbered, NULL);
	printf("%ld %llu %llu %016llx %llu %llu\n", code, (unsigned long long)frames, (unsigned long long)bytes, (unsigned long long)hash, (unsigned long long)sum, (unsigned long long)squares);
}

static void next(long n)
{
	struct pcap_pkthdr h;
	clear();
	while (n-- > 0) {
		const u_char *data = pcap_next(p, &h);
		if (data)
			on_frame(NULL, &h, data);
	}
	counted(0);
}

static void next_ex(long n)
{
	struct pcap_pkthdr *h;
	const u_char *data;
	int result = 0;
	clear();
	while (n-- > 0 && (result = pcap_next_ex(p, &h, &data)) >= 0)
		if (result == 1)
			on_frame(NULL, h, data);
	counted(result);
}

static void create(long n)
{
	(void)n;
	p = pcap_create(argument, error);
	printf("%s\n", p ? "ok" : error);
}

static void open_live(long n)
{
	*error = 0;
	p = pcap_open_live(argument, (int)n, 1, 100, error);
	printf("%s%s%s\n", p ? "ok" : "", p && *error ? " " : "", error);
}

static void open_offline(long n)
{
	(void)n;
	p = pcap_open_offline(argument, error);
	printf("%s\n", p ? "ok" : error);
}

static void close_handle(long n)
{
	(void)n;
	pcap_close(p);
	p = NULL;
	printf("0\n");
}

static void filter(long n)
{
	struct bpf_program f;
	int code = pcap_compile(p, &f, argument, (int)n, PCAP_NETMASK_UNKNOWN);
	if (code == 0) {
		code = pcap_setfilter(p, &f);
		pcap_freecode(&f);
	}
	answer(code);
}

static void bad_filter(long n)
{
	struct bpf_insn wrong = {0xffff, 0, 0, 0};
	struct bpf_program f = {(u_int)n, &wrong};
	answer(pcap_setfilter(p, &f));
}

// raw_filter sets a program of n instructions, 16 hexadecimal digits each.
static void raw_filter(long n)
{
	static struct bpf_insn code[256];
	struct bpf_program f = {(u_int)n, code};
	if (n < 0 || n > 256) {
		printf("no program of %ld instructions\n", n);
		return;
	}
	for (long i = 0; i < n; i++)
		if (sscanf(argument + 16 * i, "%4hx%2hhx%2hhx%8x", &code[i].code, &code[i].jt, &code[i].jf, &code[i].k) != 4) {
			printf("no instruction %ld\n", i);
			return;
		}
	answer(pcap_setfilter(p, &f));
}

static void stats(long n)
{
	struct pcap_stat s = {0};
	(void)n;
	int code = pcap_stats(p, &s);
	if (code < 0)
		answer(code);
	else
		printf("%d %u %u %u\n", code, s.ps_recv, s.ps_drop, s.ps_ifdrop);
}

static void select_for(long ms)
{
	fd_set set;
	int fd = pcap_get_selectable_fd(p);
	struct timeval t = {ms / 1000, ms % 1000 * 1000};
	FD_ZERO(&set);
	FD_SET(fd, &set);
	printf("%d\n", select(fd + 1, &set, NULL, NULL, &t));
}

static void poll_for(long ms)
{
	struct pollfd f = {pcap_get_selectable_fd(p), POLLIN, 0};
	printf("%d\n", poll(&f, 1, (int)ms));
}

static void epoll_for(long ms)
{
	struct epoll_event e = {.events = EPOLLIN}, got;
	int fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_ctl(fd, EPOLL_CTL_ADD, pcap_get_selectable_fd(p), &e) != 0)
		printf("%s\n", strerror(errno));
	else
		printf("%d\n", epoll_wait(fd, &got, 1, (int)ms));
	close(fd);
}

// select_loop reads n frames as programs with an event loop do.
static void select_loop(long n)
{
	int code = 0;
	clear();
	while (code >= 0 && frames < (uint64_t)n) {
		struct pollfd f = {pcap_get_selectable_fd(p), POLLIN, 0};
		if (poll(&f, 1, 5000) != 1)
			break;
		code = pcap_dispatch(p, -1, on_frame, NULL);
		if (code == 0 && frames == (uint64_t)n)
			break;
	}
	counted(code < 0 ? code : 0);
}

static void on_alarm(int signal)
{
	(void)signal;
	pcap_breakloop(p);
}

static void signal_in(long ms)
{
	struct sigaction a = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};  // of reading a line
	struct itimerval t = {.it_value = {ms / 1000, ms % 1000 * 1000}};
	sigaction(SIGALRM, &a, NULL);
	printf("%d\n", setitimer(ITIMER_REAL, &t, NULL));
}

static void *break_later(void *ms)
{
	usleep((useconds_t)(intptr_t)ms * 1000);
	pcap_breakloop(p);
	return NULL;
}

static void thread_in(long ms)
{
	pthread_t t;
	int code = pthread_create(&t, NULL, break_later, (void *)(intptr_t)ms);
	if (code == 0)
		pthread_detach(t);
	printf("%d\n", code);
}

// fork_on goes on in a child; the parent ends with it.
static void fork_on(long n)
{
	int status;
	(void)n;
	fflush(stdout);
	pid_t child = fork();
	if (child > 0) {
		waitpid(child, &status, 0);
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
	}
	printf("%d\n", child);
}

// fork_close has a child that closes its copy of the handle.
static void fork_close(long n)
{
	int status = 1;
	(void)n;
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		pcap_close(p);
		_exit(0);
	}
	waitpid(child, &status, 0);
	printf("%d\n", status);
}

static void change_root(long n)
{
	(void)n;
	printf("%d\n", chroot(argument) || chdir("/") ? -errno : 0);
}

static void drop_rights(long uid) { printf("%d\n", setgroups(0, NULL) || setgid((gid_t)uid) || setuid((uid_t)uid) ? -errno : 0); }

static void nonblock(long on) { answer(pcap_setnonblock(p, (int)on, error)); }

static void get_nonblock(long n) { (void)n; answer(pcap_getnonblock(p, error)); }

static void break_loop(long n) { (void)n; pcap_breakloop(p); printf("0\n"); }

static void inject(long n) { answer(pcap_inject(p, "0123456789abcdef", (size_t)n)); }

static void send_packet(long n) { answer(pcap_sendpacket(p, (const u_char *)"0123456789abcdef", (int)n)); }

// numbers prints a list that the library allocated.
static void numbers(int n, int *list)
{
	if (n < 0) {
		answer(n);
		return;
	}
	printf("%d", n);
	for (int i = 0; i < n; i++)
		printf(" %d", list[i]);
	printf("\n");
	free(list);
}

static void datalinks(long n)
{
	int *list = NULL;
	(void)n;
	int got = pcap_list_datalinks(p, &list);
	numbers(got, list);
}

static void tstamp_types(long n)
{
	int *list = NULL;
	(void)n;
	int got = pcap_list_tstamp_types(p, &list);
	numbers(got, list);
}

static void devices(long n)
{
	pcap_if_t *all = NULL;
	int code = pcap_findalldevs(&all, error);
	(void)n;
	printf("%d", code);
	for (pcap_if_t *one = all; one; one = one->next)
		printf(" %s", one->name);
	printf("\n");
	if (code == 0)
		pcap_freealldevs(all);
}

static void dump(long n)
{
	pcap_dumper_t *d = pcap_dump_open(p, argument);
	if (!d) {
		printf("-1 %s\n", pcap_geterr(p));
		return;
	}
	int code = pcap_dispatch(p, (int)n, pcap_dump, (u_char *)d);
	pcap_dump_close(d);
	answer(code);
}

static void lookup_net(long n)
{
	bpf_u_int32 net, mask;
	(void)n;
	int code = pcap_lookupnet(argument, &net, &mask, error);
	printf("%d %s\n", code, code < 0 ? error : "");
}

// fanout calls pcap_fanout, which the system's libpcap does not have.
static void fanout(long group)
{
	int (*f)(pcap_t *, int, const char *);
	*(void **)&f = dlsym(RTLD_DEFAULT, "pcap_fanout");
	answer(f ? f(p, (int)group, argument) : -99);
}

static void get_error(long n) { (void)n; printf("%s\n", pcap_geterr(p)); }

static void version(long n) { (void)n; printf("%s\n", pcap_lib_version()); }

static void write_into(long on) { writing = on; printf("0\n"); }

static void break_at(long n) { breaking = n; printf("0\n"); }

#define SET(name) static void set_##name(long v) { answer(pcap_set_##name(p, (int)v)); }
SET(snaplen) SET(promisc) SET(rfmon) SET(timeout) SET(tstamp_type) SET(immediate_mode) SET(buffer_size) SET(tstamp_precision) SET(protocol_linux) SET(datalink)

#define GET(name) static void get_##name(long n) { (void)n; answer(pcap_##name(p)); }
GET(activate) GET(datalink) GET(datalink_ext) GET(snapshot) GET(is_swapped) GET(major_version) GET(minor_version) GET(get_tstamp_precision) GET(can_set_rfmon)

static void has_file(long n) { (void)n; printf("%d\n", pcap_file(p) != NULL); }

static void has_fd(long n) { (void)n; printf("%d %d\n", pcap_get_selectable_fd(p) >= 0, pcap_fileno(p) >= 0); }

static void direction(long n) { answer(pcap_setdirection(p, (pcap_direction_t)n)); }

static void sleep_for(long ms) { usleep((useconds_t)ms * 1000); printf("0\n"); }

#define COMMAND(name) {#name, name}
#define COMMAND_SET(name) {"set_" #name, set_##name}
#define COMMAND_GET(name) {#name, get_##name}
static const struct {
	const char *name;
	void (*f)(long);
} commands[] = {
	COMMAND(create), COMMAND(open_live), COMMAND(open_offline), {"close", close_handle}, COMMAND(dispatch), COMMAND(loop), COMMAND(numbered), COMMAND(next), COMMAND(next_ex),
	COMMAND(filter), COMMAND(bad_filter), COMMAND(raw_filter), COMMAND(stats), {"select", select_for}, {"poll", poll_for}, {"epoll", epoll_for}, COMMAND(select_loop),
	COMMAND(signal_in), COMMAND(thread_in), {"fork", fork_on}, COMMAND(fork_close), {"chroot", change_root}, COMMAND(drop_rights), COMMAND(nonblock),
	COMMAND(get_nonblock), {"breakloop", break_loop}, COMMAND(inject), {"sendpacket", send_packet}, COMMAND(datalinks), COMMAND(tstamp_types),
	COMMAND(devices), COMMAND(dump), COMMAND(lookup_net), COMMAND(version), COMMAND(fanout), {"geterr", get_error}, COMMAND(break_at), COMMAND(write_into), COMMAND(has_file), COMMAND(has_fd), COMMAND(direction), {"sleep", sleep_for},
	COMMAND_SET(snaplen), COMMAND_SET(promisc), COMMAND_SET(rfmon), COMMAND_SET(timeout), COMMAND_SET(tstamp_type), COMMAND_SET(immediate_mode),
	COMMAND_SET(buffer_size), COMMAND_SET(tstamp_precision), COMMAND_SET(protocol_linux), COMMAND_SET(datalink),
	COMMAND_GET(activate), COMMAND_GET(datalink), COMMAND_GET(datalink_ext), COMMAND_GET(snapshot), COMMAND_GET(is_swapped), COMMAND_GET(major_version),
	COMMAND_GET(minor_version), COMMAND_GET(get_tstamp_precision), COMMAND_GET(can_set_rfmon),
};

// run calls the function of a line "NAME [NUMBER [TEXT]]".
static void run(const char *line)
{
	char name[64] = "";
	long n = 0;
	int at = 0;
	*argument = 0;
	if (sscanf(line, "%63s %ld %n", name, &n, &at) == 2 && at > 0)
		snprintf(argument, sizeof argument, "%s", line + at);
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
		if (strcmp(commands[i].name, name) == 0) {
			commands[i].f(n);
			return;
		}
	printf("no command %s\n", name);
}

int main(void)
{
	char line[4096];
	while (fgets(line, sizeof line, stdin)) {
		line[strcspn(line, "\n")] = 0;
		run(line);
		fflush(stdout);
	}
	if (p)
		pcap_close(p);
	return 0;
}
