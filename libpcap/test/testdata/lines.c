// lines prints what it costs to load what a reader of a stream must of each frame of 60
// bytes, its index entry and its record's header, once another core has written them:
// the CPU time in ns, without a call, a check or a wait.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { RECORD = 72, ENTRY = 32, FRAMES = 20000, ROUNDS = 100, DATA = 128 << 20, INDEX = 32 << 20, AHEAD = 4096, ENTRIES_AHEAD = 64 };

static uint8_t *data, *entries;
static int to_reader[2], to_writer[2];

static uint8_t *record(uint64_t n) { return data + n * RECORD % DATA / 8 * 8; }

static uint8_t *entry(uint64_t n) { return entries + n * ENTRY % INDEX; }

static void pass(int fd)
{
	if (write(fd, "", 1) != 1)
		exit(1);
}

static void await(int fd)
{
	char c;
	if (read(fd, &c, 1) != 1)
		exit(1);
}

// pin keeps the thread on the first or the second core that the program may use.
static void pin(int which)
{
	cpu_set_t may, one;
	sched_getaffinity(0, sizeof may, &may);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &may) && which-- == 0) {
			CPU_ZERO(&one);
			CPU_SET(cpu, &one);
			sched_setaffinity(0, sizeof one, &one);
			return;
		}
}

static void *write_frames(void *user)
{
	pin(0);
	for (uint64_t n = 0; n < (uint64_t)FRAMES * ROUNDS;) {
		for (uint64_t end = n + FRAMES; n < end; n++) {
			memset(record(n), (int)n, RECORD);
			memset(entry(n), (int)n, ENTRY);
		}
		pass(to_reader[1]);
		await(to_writer[0]);
	}
	return user;
}

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

// memory returns bytes of huge pages, if there are some, that are in use already.
static uint8_t *memory(size_t bytes)
{
	int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE;
	void *m = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | MAP_HUGETLB, -1, 0);
	if (m == MAP_FAILED)
		m = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (m == MAP_FAILED)
		exit(1);
	return m;
}

int main(void)
{
	pthread_t writer;
	uint64_t n = 0, sum = 0, cost = 0;
	data = memory(DATA + (2 << 20));
	entries = memory(INDEX);
	if (pipe(to_reader) || pipe(to_writer) || pthread_create(&writer, NULL, write_frames, NULL))
		return 1;
	pin(1);
	for (int round = 0; round < ROUNDS; round++) {
		await(to_reader[0]);
		uint64_t begin = now();
		for (uint64_t end = n + FRAMES; n < end; n++) {
			__builtin_prefetch(record(n) + AHEAD);
			__builtin_prefetch(entry(n + ENTRIES_AHEAD));
			sum += *(volatile uint64_t *)(void *)entry(n) + *(volatile uint64_t *)(void *)record(n);
		}
		cost += now() - begin;
		pass(to_writer[1]);
	}
	pthread_join(writer, NULL);
	printf("%.3f %d\n", (double)cost / FRAMES / ROUNDS, sum == 0);
	return 0;
}
