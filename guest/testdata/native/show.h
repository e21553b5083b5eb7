/* What the programs of this directory print: expressions with their values. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* result prints what a call returned, or how it failed. */
#define show(call) ({ \
	errno = 0; \
	long result_ = (long)(call); \
	if (result_ == -1 && errno) \
		printf("%s: %s\n", #call, strerrorname_np(errno)); \
	else \
		printf("%s: %ld\n", #call, result_); \
	result_; })

#define section(name) printf("-- %s\n", name)

/* Set-up that has to work. */
#define must(call) ({ \
	long result_ = (long)(call); \
	if (result_ == -1) { \
		printf("%s: %s\n", #call, strerror(errno)); \
		exit(99); \
	} \
	result_; })

/* Descriptors have the same numbers whatever the test was started with. */
__attribute__((constructor)) static void begin(void)
{
	syscall(SYS_close_range, 3, ~0u, 0);
	setvbuf(stdout, NULL, _IOLBF, 0);
}

static inline void msleep(int ms) { usleep(ms * 1000); }

/* No process has this number: it is above what Linux ever gives out. A smaller one
 * may well be somebody's on the host. */
enum { nobody = 1 << 23 };

/* asleep says that a thread waits in the kernel; a process's number is its first
 * thread's. How long it takes until then is the host's business. */
static inline int asleep(int pid, int tid)
{
	char path[64], stat[256] = "";
	snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, tid);
	int fd = open(path, O_RDONLY);
	read(fd, stat, sizeof stat - 1);
	close(fd);
	char *state = strrchr(stat, ')');
	return state && state[2] == 'S';
}

static inline void until_asleep(int pid, int tid)
{
	while (!asleep(pid, tid))
		msleep(1);
}
