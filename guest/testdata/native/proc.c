#include "show.h"
#include <dirent.h>
#include <elf.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

extern char **environ;
static char buf[1 << 16];

static long slurp(const char *path)
{
	int fd = open(path, O_RDONLY);
	if (fd < 0) return -1;
	long n = 0, r;
	while ((r = read(fd, buf + n, sizeof buf - 1 - n)) > 0) n += r;
	buf[n] = 0;
	close(fd);
	return n;
}

/* field prints the line of a file that begins with a name. */
static void field(const char *path, const char *name)
{
	slurp(path);
	for (char *l = strtok(buf, "\n"); l; l = strtok(NULL, "\n"))
		if (!strncmp(l, name, strlen(name))) { printf("  %s\n", l); return; }
	printf("  %s: none\n", name);
}

static int entries(const char *path)
{
	DIR *d = opendir(path);
	int n = 0;
	for (struct dirent *e; d && (e = readdir(d));) n += e->d_name[0] != '.';
	if (d) closedir(d);
	return n;
}

static pthread_barrier_t begun, over;
static void *thread(void *arg) { pthread_barrier_wait(&begun); pthread_barrier_wait(&over); return arg; }

int main(int argc, char **argv)
{
	long n;
	section("arguments and environment");
	n = slurp("/proc/self/cmdline"); printf("%ld:", n); for (long i = 0; i < n; i++) putchar(buf[i] ? buf[i] : '|'); printf("\n");
	n = slurp("/proc/self/environ"); for (long i = 0; i < n; i++) putchar(buf[i] ? buf[i] : '|'); printf("\n");
	memset(argv[0], 'x', strlen(argv[0])); slurp("/proc/self/cmdline"); printf("%s\n", buf);
	n = slurp("/proc/self/auxv"); Elf64_auxv_t *a = (void *)buf; int same = 0;
	for (; a->a_type; a++) if (a->a_type == AT_PAGESZ || a->a_type == AT_ENTRY || a->a_type == AT_RANDOM) same += a->a_un.a_val == getauxval(a->a_type);
	printf("%d\n", same);
	slurp("/proc/self/comm"); printf("%s", buf); prctl(PR_SET_NAME, "renamed"); slurp("/proc/self/comm"); printf("%s", buf); field("/proc/self/status", "Name:");

	section("numbers");
	slurp("/proc/self/stat"); int pid, ppid, pgrp, sid, tty, tpgid; char comm[32], state;
	printf("%d: ", sscanf(buf, "%d (%31[^)]) %c %d %d %d %d %d", &pid, comm, &state, &ppid, &pgrp, &sid, &tty, &tpgid));
	printf("%s %c %d %d %d %d tty %d %d\n", comm, state, pid == getpid(), ppid == getppid(), pgrp == getpgrp(), sid == getsid(0), tty, tpgid);
	int fields = 1; for (char *c = strrchr(buf, ')'); *c; c++) fields += *c == ' '; printf("%d fields\n", fields + 1);
	unsigned long size, rss; slurp("/proc/self/statm"); printf("%d %d\n", sscanf(buf, "%lu %lu", &size, &rss), size > rss && rss > 10);
	const char *names[] = { "State:", "TracerPid:", "Uid:", "Gid:", "Threads:", "NoNewPrivs:", "SigBlk:", "ShdPnd:" };
	for (int i = 0; i < 8; i++) field("/proc/self/status", names[i]);
	struct rlimit r; getrlimit(RLIMIT_NOFILE, &r); r.rlim_cur = 77; setrlimit(RLIMIT_NOFILE, &r); slurp("/proc/self/limits"); printf("%.76s\n", buf); char *l = strstr(buf, "Max open files"); printf("%.30s\n", l ? l : "none");
	section("threads");
	pthread_barrier_init(&begun, NULL, 4); pthread_barrier_init(&over, NULL, 4); pthread_t t[3];
	for (int i = 0; i < 3; i++) pthread_create(&t[i], NULL, thread, NULL);
	pthread_barrier_wait(&begun); show(entries("/proc/self/task")); field("/proc/self/status", "Threads:"); char path[64];
	snprintf(path, sizeof path, "/proc/self/task/%d/comm", getpid()); show(slurp(path)); printf("%s", buf); show(slurp("/proc/thread-self/comm"));
	pthread_barrier_wait(&over); for (int i = 0; i < 3; i++) pthread_join(t[i], NULL);
	show(slurp("/proc/self/task/1234567/comm"));

	section("descriptors");
	char temp[] = "/tmp/goskas-proc-XXXXXX";
	int f = must(mkostemp(temp, O_APPEND | O_CLOEXEC)); write(f, "12345", 5); lseek(f, 3, SEEK_SET); unlink(temp);
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", f); field(path, "pos:"); field(path, "flags:");
	int e = must(eventfd(0x1f, 0)); snprintf(path, sizeof path, "/proc/self/fdinfo/%d", e); field(path, "eventfd-count:"); field(path, "flags:");
	show(entries("/proc/self/fd") == entries("/proc/self/fdinfo")); show(slurp("/proc/self/fdinfo/99")); show(readlink("/proc/self/fd/99", path, 9));
	section("faults");
	struct rusage before, after; char *m = mmap(NULL, 256 << 12, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); madvise(m, 256 << 12, MADV_NOHUGEPAGE);
	getrusage(RUSAGE_SELF, &before); for (int i = 0; i < 256; i++) m[i << 12] = 1; getrusage(RUSAGE_SELF, &after);
	n = after.ru_minflt - before.ru_minflt; printf("some %d, not too many %d, from disk %ld\n", n >= 1, n <= 300, after.ru_majflt - before.ru_majflt);
	for (int i = 0; i < 256; i++) m[i << 12] = 2; getrusage(RUSAGE_SELF, &before); printf("again %d\n", before.ru_minflt - after.ru_minflt < 20);
	if (fork() == 0) { for (int i = 0; i < 64; i++) m[i << 12] = 3; _exit(0); } wait(NULL); getrusage(RUSAGE_CHILDREN, &after); printf("child %d\n", after.ru_minflt >= 1);
	section("machine");
	const char *files[] = { "meminfo", "uptime", "stat", "loadavg", "version", "cpuinfo", "filesystems", "mounts", "self/mounts", "self/mountinfo", "swaps", "devices", "vmstat", "self/cgroup", "self/oom_score_adj", "sys/kernel/random/uuid", "sys/kernel/random/boot_id", "sys/kernel/osrelease", "sys/kernel/pid_max", "sys/kernel/cap_last_cap", "sys/vm/overcommit_memory", "sys/vm/max_map_count", "sys/fs/file-max", "sys/net/core/somaxconn" };
	for (int i = 0; i < 24; i++) { snprintf(path, sizeof path, "/proc/%s", files[i]); printf("%s %d\n", files[i], slurp(path) > 0); }
	char uuid[64]; slurp("/proc/sys/kernel/random/uuid"); strcpy(uuid, buf); printf("%zu %c", strlen(uuid), uuid[14]); slurp("/proc/sys/kernel/random/uuid"); printf(" %d", strcmp(uuid, buf) != 0);
	slurp("/proc/sys/kernel/random/boot_id"); strcpy(uuid, buf); slurp("/proc/sys/kernel/random/boot_id"); printf(" %d\n", strcmp(uuid, buf) == 0);
	slurp("/proc/self/mountinfo"); int id, parent, maj, min; char root[64], at[64]; printf("%d\n", sscanf(buf, "%d %d %d:%d %63s %63s", &id, &parent, &maj, &min, root, at));
	double up, idle; slurp("/proc/uptime"); printf("%d\n", sscanf(buf, "%lf %lf", &up, &idle)); struct timespec ts; clock_gettime(CLOCK_BOOTTIME, &ts); printf("%d\n", up <= ts.tv_sec + 1 && up > ts.tv_sec - 20);
	show(open("/proc/self/stat", O_WRONLY) >= 0 || errno == EACCES);
	return argc - 1;
}
