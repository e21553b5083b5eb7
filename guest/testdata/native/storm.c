/* 64 threads that wake each other, or send each other signals, for a time given
 * in milliseconds. The output tells whether anything got lost. */
#include "show.h"
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 64 };

static volatile int over;

static long futex(atomic_uint *word, int op, unsigned v, const struct timespec *ts, atomic_uint *other, unsigned w)
{
	return syscall(SYS_futex, word, op, v, ts, other, w);
}

/* Rings of threads that pass a token on; each word is waited for by one thread. */
static atomic_uint ring[THREADS], turns[THREADS];

static void *passes(void *arg)
{
	long me = (long)arg, next = me / 8 * 8 + (me + 1) % 8;
	unsigned seen = 0;
	struct timespec soon = { 0, 1000000 };
	for (;;) {
		while (ring[me] == seen && !over)
			futex(&ring[me], FUTEX_WAIT | (me % 2 ? FUTEX_PRIVATE_FLAG : 0), seen, me % 3 ? NULL : &soon, NULL, 0);
		if (ring[me] == seen)
			break;
		seen++;
		turns[me]++;
		ring[next]++;
		futex(&ring[next], FUTEX_WAKE | (next % 2 ? FUTEX_PRIVATE_FLAG : 0), 1, NULL, NULL, 0);
	}
	return NULL;
}

/* A mutex and a condition made of futexes, with requeueing. */
static atomic_uint lock, gate, inside, passed;

static void acquire(void)
{
	unsigned zero = 0;
	if (atomic_compare_exchange_strong(&lock, &zero, 1))
		return;
	while (atomic_exchange(&lock, 2))
		futex(&lock, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
}

static void release(void)
{
	if (atomic_exchange(&lock, 0) == 2)
		futex(&lock, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static unsigned long sum;

static void *locks(void *arg)
{
	unsigned long n = 0;
	while (!over) {
		acquire();
		if (inside++)
			printf("two inside\n");
		sum++;
		inside--;
		release();
		n++;
		if (n % 16 == 0) { // wait for the gate, whose waiters are moved to the lock
			unsigned g = gate;
			passed++;
			futex(&gate, FUTEX_WAIT_PRIVATE, g, NULL, NULL, 0);
			acquire();
			atomic_store(&lock, 2); // there may be others that were moved
			release();
		}
	}
	return (void *)n;
}

static void *opens(void *arg)
{
	while (!over) {
		msleep(1);
		unsigned g = ++gate;
		while (futex(&gate, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)(long)THREADS, &lock, g) == -1 && errno == EAGAIN)
			g = gate;
	}
	return NULL;
}

static void futexes(int ms)
{
	pthread_t ringers[THREADS / 2], lockers[THREADS / 2 - 1], opener;
	for (long i = 0; i < THREADS / 2; i++)
		must(-pthread_create(&ringers[i], NULL, passes, (void *)i));
	for (long i = 0; i < THREADS / 2 - 1; i++)
		must(-pthread_create(&lockers[i], NULL, locks, NULL));
	must(-pthread_create(&opener, NULL, opens, NULL));
	for (int i = 0; i < THREADS / 2; i += 8) {
		ring[i]++;
		futex(&ring[i], FUTEX_WAKE, 1, NULL, NULL, 0);
	}
	msleep(ms);
	over = 1;
	for (int i = 0; i < THREADS / 2; i++)
		futex(&ring[i], FUTEX_WAKE | (i % 2 ? FUTEX_PRIVATE_FLAG : 0), 1, NULL, NULL, 0);
	unsigned long total = 0, least = ~0ul;
	for (int i = 0; i < THREADS / 2; i++) {
		pthread_join(ringers[i], NULL);
		least = turns[i] < least ? turns[i] : least;
	}
	pthread_join(opener, NULL);
	gate++;
	futex(&gate, FUTEX_WAKE_PRIVATE, THREADS, NULL, NULL, 0);
	for (int i = 0; i < THREADS / 2 - 1; i++) {
		void *n;
		while (pthread_tryjoin_np(lockers[i], &n)) { // one may have come to the gate just now
			gate++;
			futex(&gate, FUTEX_WAKE_PRIVATE, THREADS, NULL, NULL, 0);
			futex(&lock, FUTEX_WAKE_PRIVATE, THREADS, NULL, NULL, 0);
			msleep(1);
		}
		total += (unsigned long)n;
	}
	printf("everybody had a turn: %d, exclusion holds: %d\n", least > 0, total == sum);
}

static atomic_ulong sent[THREADS], got[THREADS], values[THREADS], summed[THREADS];
static __thread long self;
static pid_t tids[THREADS];
static atomic_int ready, done;
static atomic_ulong group;

static void handler(int sig, siginfo_t *si, void *uc)
{
	if (sig == SIGUSR1) {
		group++;
		return;
	}
	got[self]++;
	summed[self] += si->si_value.sival_int;
}

static void *sends(void *arg)
{
	self = (long)arg;
	tids[self] = syscall(SYS_gettid);
	unsigned seed = self;
	for (ready++; ready < THREADS; )
		usleep(1000);
	while (!over) {
		int to = rand_r(&seed) % THREADS, value = rand_r(&seed) % 1000;
		siginfo_t si = { .si_code = SI_QUEUE };
		si.si_value.sival_int = value;
		if (!syscall(SYS_rt_tgsigqueueinfo, getpid(), tids[to], SIGRTMIN + to % 3, &si)) {
			sent[to]++;
			values[to] += value;
		} else if (errno != EAGAIN)
			printf("send: %s\n", strerror(errno));
		if (value % 16 == 0)
			kill(getpid(), SIGUSR1);
		if (value % 8 == 0)
			usleep(100);
	}
	for (done++; done < THREADS; )
		usleep(1000);
	for (int i = 0; i < 2000 && got[self] < sent[self]; i++)
		usleep(1000);
	return NULL;
}

static void signals(int ms)
{
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART };
	for (int i = 0; i < 3; i++)
		sigaction(SIGRTMIN + i, &sa, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	pthread_t t[THREADS];
	sigset_t s;
	sigemptyset(&s);
	for (long i = 0; i < THREADS; i++)
		must(-pthread_create(&t[i], NULL, sends, (void *)i));
	sigfillset(&s);
	pthread_sigmask(SIG_BLOCK, &s, NULL); // the others' business
	msleep(ms);
	over = 1;
	int lost = 0;
	for (int i = 0; i < THREADS; i++) {
		pthread_join(t[i], NULL);
		lost += got[i] != sent[i] || summed[i] != values[i];
	}
	printf("some came: %d, threads that lost signals: %d\n", group > 0, lost);
}

int main(int argc, char **argv)
{
	int ms = atoi(argv[2]);
	if (!strcmp(argv[1], "futex"))
		futexes(ms);
	else
		signals(ms);
	return 0;
}
