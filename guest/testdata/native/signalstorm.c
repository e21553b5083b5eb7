/* 64 threads that send signals to each other and to their process. What is
 * queued has to come exactly once, and to a thread in the order of each sender;
 * an ordinary signal has to come if nothing of its kind was pending. */
#include "storm.h"
#include <sys/signalfd.h>

enum { SENDERS = 48, TAKERS = 8, READERS = 4, PAIRS = 2, QUEUES = 3 };

/* Real-time signals: three that go to threads, and one for the process that is
 * handled, one that is waited for and one that is read. */
#define TO_THREAD (SIGRTMIN + 0)
#define HANDLED (SIGRTMIN + 4)

static atomic_int over, finished, senders_done;
static atomic_ulong sent[QUEUES], sum_sent[QUEUES], came[QUEUES], sum_came[QUEUES];

static __thread long self = -1;
static pid_t tids[SENDERS];
static unsigned next[SENDERS][SENDERS], last[SENDERS][SENDERS]; /* by receiver and sender */
static atomic_ulong to_threads, from_threads, disorder, plain, strays;

static void take(int queue, int value)
{
	came[queue]++;
	sum_came[queue] += value;
}

static void handler(int sig, siginfo_t *si, void *uc)
{
	unsigned v = si->si_value.sival_int;
	if (si->si_pid != getpid())
		strays++;
	if (sig == SIGUSR1)
		plain++;
	else if (sig == HANDLED)
		take(0, v);
	else if (self < 0 || v >> 25 >= SENDERS || (v & 0x1ffffff) != ++last[self][v >> 25])
		disorder++;
	else
		from_threads++;
}

static int send(int tid, int sig, unsigned value)
{
	siginfo_t si = { .si_code = SI_QUEUE };
	si.si_pid = getpid();
	si.si_value.sival_int = value;
	long r = tid ? syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, sig, &si) : syscall(SYS_rt_sigqueueinfo, getpid(), sig, &si);
	if (r && errno != EAGAIN)
		printf("send: %s\n", strerror(errno));
	return !r;
}

static void *sends(void *arg)
{
	self = (long)arg;
	unsigned seed = self;
	tids[self] = syscall(SYS_gettid);
	sigset_t mine;
	sigemptyset(&mine);
	sigaddset(&mine, TO_THREAD + self % 3);
	becomes(tids[0] && tids[SENDERS - 1] && tids[SENDERS / 2]);
	while (!over) {
		int to = rand_r(&seed) % SENDERS, q = rand_r(&seed) % QUEUES, value = rand_r(&seed) % 1000;
		if (tids[to] && send(tids[to], TO_THREAD + to % 3, (unsigned)self << 25 | (next[to][self] + 1)))
			next[to][self]++, to_threads++;
		if (send(0, HANDLED + q, value)) {
			sent[q]++;
			sum_sent[q] += value;
		}
		if (value % 16 == 0)
			kill(getpid(), SIGUSR1);
		if (value % 8 == 0) { /* its own, while it is blocked */
			pthread_sigmask(SIG_BLOCK, &mine, NULL);
			if (send(tids[self], TO_THREAD + self % 3, (unsigned)self << 25 | (next[self][self] + 1)))
				next[self][self]++, to_threads++;
			pthread_sigmask(SIG_UNBLOCK, &mine, NULL);
			if (next[self][self] != last[self][self])
				printf("unblocked, and not there\n");
		}
		if (value % 4 == 0)
			usleep(100);
	}
	senders_done++;
	while (!finished) /* signals come here, too */
		usleep(1000);
	return NULL;
}

/* Waiting with a limit, so that the end of the limit meets signals. */
static void *takes(void *arg)
{
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, HANDLED + 1);
	while (!finished) {
		struct timespec limit = { 0, 50000 * ((long)arg + 1) };
		siginfo_t si;
		if (sigtimedwait(&s, &si, &limit) > 0)
			take(1, si.si_value.sival_int);
		else if (errno != EAGAIN && errno != EINTR)
			printf("sigtimedwait: %s\n", strerror(errno));
	}
	return NULL;
}

static void *reads(void *arg)
{
	struct signalfd_siginfo si[3];
	while (!finished) {
		struct pollfd p = { (long)arg, POLLIN, 0 };
		poll(&p, 1, 5);
		long n = read(p.fd, si, sizeof si);
		for (int i = 0; i < n / (long)sizeof si[0]; i++)
			take(2, si[i].ssi_int);
	}
	return NULL;
}

/* Pairs that answer an ordinary signal by another. */
static atomic_int pair_tids[PAIRS][2], pair_over[PAIRS];
static unsigned long answers[PAIRS][2];
static __thread volatile int answered;

static void answer(int sig) { answered = 1; }

static void *pairs(void *arg)
{
	long pair = (long)arg / 2, me = (long)arg % 2;
	sigset_t s, open;
	pthread_sigmask(SIG_SETMASK, NULL, &open);
	s = open;
	sigaddset(&s, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &s, NULL);
	pair_tids[pair][me] = syscall(SYS_gettid);
	becomes(pair_tids[pair][!me]);
	for (int begun = !me;; begun = 1) {
		if (begun) {
			if (!me && finished)
				pair_over[pair] = 1; /* known to whom the last signal wakes */
			syscall(SYS_tgkill, getpid(), pair_tids[pair][!me], SIGUSR2);
			if (!me && pair_over[pair])
				break;
		}
		while (!answered)
			sigsuspend(&open); /* or somebody else's signal came */
		answered = 0;
		answers[pair][me]++;
		if (me && pair_over[pair])
			break;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART };
	for (int i = 0; i < 5; i++)
		sigaction(i == 3 ? SIGUSR1 : SIGRTMIN + i, &sa, NULL);
	sa.sa_flags = 0, sa.sa_handler = answer;
	sigaction(SIGUSR2, &sa, NULL);
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, HANDLED + 2);
	int fd = must(signalfd(-1, &s, SFD_NONBLOCK));
	sigaddset(&s, HANDLED + 1);
	must(-pthread_sigmask(SIG_BLOCK, &s, NULL));
	pthread_t senders[SENDERS], takers[TAKERS], readers[READERS], paired[2 * PAIRS];
	for (int i = 0; i < SENDERS; i++)
		senders[i] = begin_thread(sends, i);
	for (int i = 0; i < 2 * PAIRS; i++)
		paired[i] = begin_thread(pairs, i);
	sigfillset(&s);
	must(-pthread_sigmask(SIG_BLOCK, &s, NULL)); /* what follows has other things to do */
	for (int i = 0; i < TAKERS; i++)
		takers[i] = begin_thread(takes, i);
	for (int i = 0; i < READERS; i++)
		readers[i] = begin_thread(reads, fd);
	msleep(atoi(argv[1]));
	over = 1;
	becomes(senders_done == SENDERS);
	becomes(from_threads + disorder == to_threads);
	for (int q = 0; q < QUEUES; q++)
		becomes(came[q] == sent[q]);
	unsigned long before = plain;
	kill(getpid(), SIGUSR1);
	becomes(plain > before);
	finished = 1;
	for (int i = 0; i < SENDERS; i++)
		ends(senders[i], "sender", i);
	for (int i = 0; i < TAKERS; i++)
		ends(takers[i], "taker", i);
	for (int i = 0; i < READERS; i++)
		ends(readers[i], "reader", i);
	for (int i = 0; i < 2 * PAIRS; i++)
		ends(paired[i], "of a pair", i);
	unsigned long n = from_threads + answers[0][0] + answers[1][0];
	for (int q = 0; q < QUEUES; q++)
		n += came[q];
	printf("operations: %lu\n", n);
	printf("to threads: %ld lost, %lu in disorder, some %d\n", to_threads - from_threads, disorder, from_threads > 0);
	for (int q = 0; q < QUEUES; q++)
		printf("to the process: %ld lost, sum off by %ld, some %d\n", sent[q] - came[q], sum_sent[q] - sum_came[q], came[q] > 0);
	for (int i = 0; i < PAIRS; i++)
		printf("a pair's difference: %d\n", answers[i][0] > 1 && answers[i][0] - answers[i][1] + 1 <= 2);
	printf("strays: %lu, stuck: %d\n", strays, stuck);
	return 0;
}
