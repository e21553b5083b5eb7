/* 64 threads and two processes that wait for each other by futexes. Most wait
 * without a limit, so that one lost wake-up leaves somebody stuck; nobody is
 * woken in the end who was not in the beginning. All wake-ups are counted: as
 * many as the kernel says that it woke have to come back from their waits. */
#include "storm.h"
#include <linux/futex.h>

enum { RING = 8, RINGS = 4, MEET = 16, LOCKERS = 14, ALL = 1 << 30 };

/* What the processes share. */
static struct {
	atomic_int over;
	atomic_ulong woken, came;
	atomic_uint place[2];
	atomic_ulong turns[2];
} *our;

static long futex(atomic_uint *word, int op, unsigned v, const void *arg, atomic_uint *other, unsigned w)
{
	return syscall(SYS_futex, word, op, v, arg, other, w);
}

static void sleeps(atomic_uint *word, int op, unsigned v, const struct timespec *limit, unsigned bits)
{
	if (!futex(word, op, v, limit, NULL, bits))
		our->came++;
	else if (errno != EAGAIN && !(limit && (errno == ETIMEDOUT || errno == EINTR)))
		printf("wait: %s\n", strerror(errno));
}

static void wakes(atomic_uint *word, int op, unsigned n, unsigned bits)
{
	our->woken += must(futex(word, op, n, NULL, NULL, bits));
}

/* A token goes round. A word counts by 2 how often the token came; its last bit
 * says that it was the last time. */
static void pass(atomic_uint *next, int kind, int last)
{
	if (kind == 3) { /* the kernel adds, and looks for the sign, which is not there */
		our->woken += must(futex(next, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, next, FUTEX_OP(FUTEX_OP_ADD, (2 + last), FUTEX_OP_CMP_LT, 0)));
		return;
	}
	*next += 2 + last;
	wakes(next, kind == 1 || kind == 4 ? FUTEX_WAKE : FUTEX_WAKE_PRIVATE, 1, 0);
}

static unsigned long circulate(atomic_uint *places, int n, int me, int kind)
{
	struct timespec soon = { 0, 30000 * (me + 1) };
	unsigned long turns = 0;
	for (unsigned seen = 0;;) {
		while (places[me] == seen)
			sleeps(&places[me], kind == 1 || kind == 4 ? FUTEX_WAIT : FUTEX_WAIT_PRIVATE, seen, kind == 2 ? &soon : NULL, 0);
		seen = places[me];
		turns++;
		int last = seen & 1 || (!me && our->over);
		if (!(last && me == n - 1)) /* the first has left */
			pass(&places[(me + 1) % n], kind, last);
		if (last)
			return turns;
	}
}

static atomic_uint rings[RINGS][RING];
static unsigned long turns[RINGS][RING];

static void *circulates(void *arg)
{
	long ring = (long)arg / RING, me = (long)arg % RING;
	turns[ring][me] = circulate(rings[ring], RING, me, ring);
	return NULL;
}

/* All meet, and the last to come wakes the others by three sets of bits. */
static atomic_uint arrived, generation;
static int ending;
static unsigned long rounds[MEET];

static void *meets(void *arg)
{
	long me = (long)arg;
	do {
		unsigned g = generation;
		if (arrived++ == MEET - 1) {
			arrived = 0;
			ending = our->over;
			generation++;
			for (int b = 0; b < 3; b++)
				wakes(&generation, FUTEX_WAKE_BITSET_PRIVATE, ALL, 1 << b);
		}
		while (generation == g)
			sleeps(&generation, FUTEX_WAIT_BITSET_PRIVATE, g, NULL, 1 << me % 3);
		rounds[me]++;
	} while (!ending);
	return NULL;
}

/* A lock, and a gate whose waiters are moved to the lock. */
static atomic_uint lock, gate;
static atomic_int inside, left;
static unsigned long sum;
static atomic_ulong locked;

static void acquire(void)
{
	unsigned zero = 0;
	if (atomic_compare_exchange_strong(&lock, &zero, 1))
		return;
	while (atomic_exchange(&lock, 2))
		sleeps(&lock, FUTEX_WAIT_PRIVATE, 2, NULL, 0);
}

static void release(void)
{
	if (atomic_exchange(&lock, 0) == 2)
		wakes(&lock, FUTEX_WAKE_PRIVATE, 1, 0);
}

static void *locks(void *arg)
{
	for (int n = 1; !our->over; n++) {
		acquire();
		if (inside++)
			printf("two inside\n");
		sum++;
		inside--;
		release();
		locked++;
		if (n % 16 == 0) {
			unsigned g = gate;
			sleeps(&gate, FUTEX_WAIT_PRIVATE, g, NULL, 0);
			acquire();
			lock = 2; /* others may have been moved, too */
			release();
		}
	}
	left++;
	return NULL;
}

static void *opens(void *arg)
{
	long n;
	while (left < LOCKERS) {
		usleep(300);
		unsigned g = ++gate;
		while ((n = futex(&gate, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)(long)ALL, &lock, g)) == -1 && errno == EAGAIN)
			g = gate;
		our->woken += must(n) > 0; /* the others when the lock is released */
	}
	return NULL;
}

/* Signals take threads out of their waits, and put them back. Those that wait
 * for bits and by FUTEX_WAKE_OP are left alone, so that a wake-up that is lost
 * there is not made good by looking again. */
static pthread_t ringers[RINGS * RING], meeters[MEET], lockers[LOCKERS];
static atomic_ulong teased;

static void handler(int sig) { teased++; }

static void *teases(void *arg)
{
	for (unsigned seed = 1; !our->over; usleep(100)) { /* nobody is joined yet */
		pthread_kill(ringers[rand_r(&seed) % (2 * RING)], SIGUSR1);
		pthread_kill(lockers[rand_r(&seed) % (LOCKERS / 2)], SIGUSR1);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	our = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_RESTART };
	sigaction(SIGUSR1, &sa, NULL);
	pid_t pids[2];
	for (int i = 0; i < 2; i++)
		if (!(pids[i] = must(fork()))) {
			our->turns[i] = circulate(our->place, 2, i, 4);
			_exit(0);
		}
	pthread_t opener, teaser;
	for (int i = 0; i < RINGS * RING; i++)
		ringers[i] = begin_thread(circulates, i);
	for (int i = 0; i < MEET; i++)
		meeters[i] = begin_thread(meets, i);
	for (int i = 0; i < LOCKERS; i++)
		lockers[i] = begin_thread(locks, i);
	opener = begin_thread(opens, 0);
	teaser = begin_thread(teases, 0);
	for (int r = 0; r < RINGS; r++)
		pass(rings[r], r, 0);
	pass(our->place, 4, 0);
	msleep(atoi(argv[1]));
	our->over = 1;

	unsigned long n = 0;
	int equal = 1;
	for (int i = 0; i < RINGS * RING; i++)
		ends(ringers[i], "ringer", i);
	for (int i = 0; i < MEET; i++)
		ends(meeters[i], "meeter", i);
	for (int i = 0; i < LOCKERS; i++)
		ends(lockers[i], "locker", i);
	ends(opener, "opener", 0);
	ends(teaser, "teaser", 0);
	for (int i = 0; i < 2; i++) {
		int st = -1;
		becomes(waitpid(pids[i], &st, WNOHANG) == pids[i] || st != -1);
		printf("process %d: %#x\n", i, st);
	}
	for (int r = 0; r < RINGS; r++)
		for (int i = 0; i < RING; i++)
			n += turns[r][i], equal &= turns[r][i] > 1 && turns[r][i] == turns[r][0];
	for (int i = 0; i < MEET; i++)
		n += rounds[i], equal &= rounds[i] > 1 && rounds[i] == rounds[0];
	equal &= our->turns[0] == our->turns[1] && our->turns[0] > 1;
	printf("operations: %lu\n", n + locked + our->turns[0] + our->turns[1]);
	printf("all had as many turns: %d\n", equal);
	printf("exclusion holds: %d\n", sum == locked && sum > 0);
	printf("woken and never back: %ld\n", our->woken - our->came);
	printf("signals came: %d\n", teased > 0);
	printf("stuck: %d\n", stuck);
	return 0;
}
