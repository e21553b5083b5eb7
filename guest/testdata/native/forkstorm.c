/* Threads that fork, execute and wait in every way, under timers and signals,
 * with children that are killed on their way. Every child sends a real-time
 * signal before and after exec, and a byte through a pipe: all have to come,
 * with the statuses that are due, and nothing may be left. */
#include "storm.h"
#include <dirent.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/time.h>

enum { WORKERS = 8, KINDS = 6 };

static atomic_int over;
static atomic_ulong expected, came, due, got, bytes, ticks, killed, wrong, kinds[KINDS];
static int out[2];

static void handler(int sig, siginfo_t *si, void *uc)
{
	if (sig == SIGALRM || sig == SIGCHLD || sig == SIGUSR1) {
		ticks++;
		return;
	}
	came++;
	got += si->si_value.sival_int;
}

/* tell sends a child's signal; the parent may have as many as it likes. */
static void tell(pid_t to, int value)
{
	while (sigqueue(to, SIGRTMIN, (union sigval){ .sival_int = value }))
		if (errno != EAGAIN)
			_exit(98);
}

static void *last_word(void *arg)
{
	char *argv[] = { "forkstorm", "child", arg, "exec'd by a thread", NULL };
	execv("/proc/self/exe", argv);
	_exit(97);
}

/* What is executed: argument 2 is the value to send and to end with. */
static int child(char **argv)
{
	if (!strcmp(argv[3], "threads")) { /* and once more, by one of several */
		pthread_t t = begin_thread((void *(*)(void *))pause, 0);
		t = begin_thread(last_word, (long)argv[2]);
		pthread_join(t, NULL);
	}
	tell(getppid(), atoi(argv[2]));
	write(0, "x", 1);
	return atoi(argv[2]) & 0x7f;
}

extern char **environ;

static void once(unsigned *seed, int kind)
{
	int value = rand_r(seed) % 10000, dies = kind == 5, st = -1;
	char number[16];
	snprintf(number, sizeof number, "%d", value);
	char *argv[] = { "forkstorm", "child", number, kind == 4 ? "threads" : "", NULL };
	posix_spawn_file_actions_t actions;
	pid_t pid = -1, parent = getpid();
	switch (kind) {
	default:
		pid = must(fork());
		if (pid)
			break;
		if (dies) {
			for (;;)
				if (!fork()) _exit(0);
				else wait(NULL);
		}
		tell(parent, value);
		if (kind == 0) {
			write(out[1], "x", 1);
			_exit(value & 0x7f);
		}
		dup2(out[1], 0);
		execv("/proc/self/exe", argv);
		_exit(97);
	case 2:
		pid = must(vfork());
		if (!pid) {
			dup2(out[1], 0);
			execv("/proc/self/exe", argv);
			_exit(97);
		}
		break;
	case 3:
		posix_spawn_file_actions_init(&actions);
		posix_spawn_file_actions_adddup2(&actions, out[1], 0);
		must(-posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ));
		posix_spawn_file_actions_destroy(&actions);
	}
	if (dies) {
		usleep(rand_r(seed) % 3000);
		kill(pid, SIGKILL);
	}
	pid_t r;
	while ((r = waitpid(pid, &st, 0)) == -1 && errno == EINTR);
	int want = dies ? SIGKILL : (value & 0x7f) << 8;
	if (r != pid || st != want) {
		printf("kind %d: waitpid %d, status %#x, not %#x\n", kind, r == pid, st, want);
		wrong++;
	}
	int words = dies ? 0 : kind == 1 || kind == 4 ? 2 : 1;
	expected += words;
	due += words * (unsigned long)value;
	bytes += !dies;
	killed += dies;
	kinds[kind]++;
}

static void *works(void *arg)
{
	unsigned seed = (long)arg;
	for (int i = 0; !over || i < KINDS; i++)
		once(&seed, (i + (long)arg) % KINDS);
	return NULL;
}

static atomic_ulong received;

static void *reads(void *arg)
{
	char buf[64];
	long n;
	while ((n = read(out[0], buf, sizeof buf)) > 0)
		received += n;
	return NULL;
}

static pthread_t workers[WORKERS];

static void *teases(void *arg)
{
	for (unsigned seed = 1; !over; usleep(500)) {
		kill(getpid(), SIGUSR1);
		pthread_kill(workers[rand_r(&seed) % WORKERS], SIGUSR1);
	}
	return NULL;
}

static int entries(const char *dir)
{
	int n = 0;
	DIR *d = opendir(dir);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

int main(int argc, char **argv)
{
	if (argc > 2)
		return child(argv);
	must(pipe2(out, O_CLOEXEC));
	prctl(PR_SET_CHILD_SUBREAPER, 1); /* as process 1 is anyway */
	int fds = entries("/proc/self/fd");
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART };
	int sigs[] = { SIGRTMIN, SIGALRM, SIGCHLD, SIGUSR1 };
	for (int i = 0; i < 4; i++)
		sigaction(sigs[i], &sa, NULL);
	struct itimerval often = { { 0, 3000 }, { 0, 3000 } }, never = { 0 };
	for (int i = 0; i < WORKERS; i++)
		workers[i] = begin_thread(works, i);
	pthread_t reader = begin_thread(reads, 0), teaser = begin_thread(teases, 0);
	sigset_t s;
	sigfillset(&s);
	must(-pthread_sigmask(SIG_BLOCK, &s, NULL));
	must(setitimer(ITIMER_REAL, &often, NULL));
	msleep(atoi(argv[1]));
	over = 1;
	for (int i = 0; i < WORKERS; i++)
		ends(workers[i], "worker", i);
	ends(teaser, "teaser", 0);
	must(setitimer(ITIMER_REAL, &never, NULL));
	must(-pthread_sigmask(SIG_UNBLOCK, &s, NULL)); /* nobody else is there to take them */
	becomes(came == expected);
	close(out[1]);
	ends(reader, "reader", 0);
	close(out[0]);
	unsigned long n = 0;
	int all = 1;
	for (int i = 0; i < KINDS; i++)
		n += kinds[i], all &= kinds[i] > 0;
	printf("operations: %lu\n", n);
	printf("of every kind: %d, some killed: %d, wrong statuses: %lu\n", all, killed > 0, wrong);
	printf("signals lost: %ld, sum off by %ld, ordinary ones came: %d\n", expected - came, due - got, ticks > 0);
	printf("bytes lost: %ld\n", bytes - received);
	int orphans = 0; /* of those that were killed */
	becomes((orphans += waitpid(-1, NULL, WNOHANG) > 0, waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD));
	printf("orphans: %d, descriptors left: %d\n", orphans <= killed, entries("/proc/self/fd") - fds + 2);
	becomes(entries("/proc/self/task") == 3);
	printf("stuck: %d\n", stuck);
	return 0;
}
