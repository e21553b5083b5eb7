// Calls every system call with bad pointers, lengths and descriptors:
//
//	badcalls SEED CHILDREN THREADS CALLS
//
// Each thread of each child makes that many calls, at random, of all numbers there
// are and some more. Threads take from each other what calls are using: memory and
// descriptors. A child may die of what it does to itself; it may not hang for good,
// and the parent has to live. Run it where nothing is worth keeping.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static __thread uint64_t state;

static uint64_t rnd(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static uint64_t below(uint64_t n) { return rnd() % n; }

enum { page = 4096 };
static char *good, *readable, *edge;

// An argument: a pointer of some kind, a number, a descriptor.
static uint64_t argument(void)
{
	static const uint64_t numbers[] = {
		0, 1, 2, 3, 7, 8, 64, 4095, 4096, 65536, 1 << 20, 0x7fffffff, 0x80000000, 0xffffffff, 1ull << 32, 1ull << 40,
		1ull << 47, (1ull << 47) - 4096, 1ull << 63, ~0ull, ~0ull - 99, ~0ull - 4095, 0xdeadbeefdeadbeef, 1ull << 62,
	};
	switch (below(12)) {
	case 0: case 1:
		return numbers[below(sizeof numbers / sizeof *numbers)];
	case 2:
		return below(20); // a descriptor, a small number
	case 3:
		return 1ull << below(64);
	case 4:
		return (uint64_t)good + below(page);
	case 5: case 6:
		return (uint64_t)good + below(16) * 256;
	case 7:
		return (uint64_t)readable + below(page);
	case 8:
		return (uint64_t)edge - below(64); // the page ends there
	case 9:
		return (uint64_t)edge + below(page);
	case 10:
		return 0x7fffffffe000 + below(4 * page); // around the end of user memory
	}
	return rnd() >> below(64);
}

// What memory holds that calls are pointed at: names, and anything.
static void scatter(void)
{
	static const char *const names[] = {"f", "d", "d/g", "/", "/proc/self/fd/3", "", "nosuch", "/proc/self/maps", "..", "/dev/null", "/tmp/x"};
	for (int i = 0; i < 16; i++) {
		char *at = good + i * 256;
		if (below(3)) {
			strcpy(at, names[below(sizeof names / sizeof *names)]);
			continue;
		}
		for (int j = 0; j < 256; j += 8) {
			uint64_t v = below(3) ? below(8) : argument();
			memcpy(at + j, &v, 8);
		}
	}
}

static void ignore(int sig) { (void)sig; }

// What somebody has unmapped comes back; anything else ends the child.
static void fault(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)context;
	char *at = info->si_addr;
	if (at < good || at >= good + page || mmap(good, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != good)
		_exit(1);
}

// Takes away, or replaces, what other threads' calls are using.
static void disturb(void)
{
	switch (below(9)) {
	case 0:
		munmap(good, page);
		break;
	case 1: case 2:
		mmap(good, page, PROT_READ | PROT_WRITE, (below(2) ? MAP_PRIVATE : MAP_SHARED) | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		break;
	case 3:
		mprotect(good, page, below(8));
		break;
	case 4:
		madvise(good, page, below(2) ? MADV_DONTNEED : below(26));
		break;
	case 5:
		close(below(20));
		break;
	case 6:
		dup2(below(20), below(20));
		break;
	case 7:
		mmap(good, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, open("f", O_RDWR), 0);
		break;
	case 8:
		if (!below(20) && fork() == 0)
			_exit(0);
		if (!below(100)) // while others are in calls
			execl("/bin/busybox", "true", NULL);
	}
}

static struct itimerval tick = {{0, 2000}, {0, 2000}};
static pid_t pid;
static int threads;
static long calls;

static void *caller(void *seed)
{
	state = (uint64_t)seed;
	rnd();
	pid_t tid = gettid();
	for (long i = 0; i < calls; i++) {
		if (i % 8 == 0)
			scatter();
		if (threads > 1 && !below(4))
			disturb();
		uint64_t a[6];
		for (int j = 0; j < 6; j++)
			a[j] = argument();
		long nr = below(below(20) ? 470 : 1 << 20);
		switch (nr) {
		case SYS_exit: case SYS_exit_group: case SYS_rt_sigreturn: case SYS_execve: case SYS_execveat:
			if (below(10)) // these end the child, or what it does
				continue;
			break;
		case SYS_kill: case SYS_tkill: case SYS_tgkill: case SYS_rt_sigqueueinfo: case SYS_rt_tgsigqueueinfo:
			a[0] = below(2) ? pid : 1ull << 30; // others are not to die
			break;
		case SYS_setpriority: case SYS_prlimit64: case SYS_setpgid:
			a[below(2)] = 0;
			break;
		case SYS_nanosleep: case SYS_clock_nanosleep: case SYS_pause:
			if (below(10))
				continue;
		}
		syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
		if (syscall(SYS_gettid) != tid)
			syscall(SYS_exit_group, 0); // of a fork, or a thread on our stack
		if (i % 100 == 0)
			setitimer(ITIMER_REAL, &tick, 0);
	}
	return NULL;
}

static void child(uint64_t seed)
{
	pid = getpid();
	setsid();
	mkdir("d", 0777);
	int null = open("/dev/null", O_RDWR);
	for (int i = 0; i < 3; i++)
		dup2(null, i);
	open("f", O_RDWR | O_CREAT, 0666);
	open("d/g", O_RDWR | O_CREAT | O_APPEND, 0666);
	open(".", O_RDONLY | O_DIRECTORY);
	open("/etc/passwd", O_RDONLY);
	open("/etc", O_PATH);
	int fds[2];
	pipe2(fds, 0);
	socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
	syscall(SYS_memfd_create, "m", 3);
	eventfd(1, 0);
	epoll_create1(0);
	good = mmap(0, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	readable = mmap(0, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	edge = (char *)mmap(0, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + page;
	munmap(edge, page);
	// What waits is to be interrupted.
	struct sigaction sa = {.sa_handler = ignore};
	for (int sig = 1; sig < 65; sig++)
		sigaction(sig, &sa, 0);
	struct sigaction sf = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO};
	sigaction(SIGSEGV, &sf, 0);
	sigaction(SIGBUS, &sf, 0);
	setitimer(ITIMER_REAL, &tick, 0);
	pthread_t thread;
	for (int i = 1; i < threads; i++)
		pthread_create(&thread, 0, caller, (void *)(seed + i * 0x9e3779b97f4a7c15));
	caller((void *)seed);
	_exit(0);
}

int main(int argc, char **argv)
{
	if (argc != 5)
		return 2;
	uint64_t seed = strtoull(argv[1], 0, 10);
	int done = 0, n = atoi(argv[2]);
	threads = atoi(argv[3]);
	calls = atol(argv[4]);
	for (int i = 0; i < n; i++) {
		pid_t born = fork();
		if (born < 0) {
			printf("fork: %s\n", strerror(errno));
			return 1;
		}
		if (born == 0)
			child((seed * 1000 + i + 1) * 0x9e3779b97f4a7c15);
		int status, waited = 0;
		while (waitpid(born, &status, WNOHANG) == 0) {
			struct timespec ms = {0, 1000000};
			nanosleep(&ms, 0);
			if (++waited == 500) // it has blocked its signals, say
				kill(born, SIGKILL);
		}
		kill(-born, SIGKILL); // what it has left behind
		while (waitpid(-1, 0, WNOHANG) > 0)
			;
		done++;
	}
	printf("%d children\n", done);
	return 0;
}
