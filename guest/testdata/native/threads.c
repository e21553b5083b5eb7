// Threads, as pthreads has them: mutexes, condition variables, barriers,
// thread-local storage, floating point, cancellation, robust mutexes. The
// output does not depend on how they are scheduled.
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(e) do { if (!(e)) { printf("line %d: %s: %s\n", __LINE__, #e, strerror(errno)); exit(1); } } while (0)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static long counter;
static __thread long mine;

static void *count(void *arg)
{
	for (int i = 0; i < 10000; i++) {
		pthread_mutex_lock(&lock);
		counter++;
		mine++;
		pthread_mutex_unlock(&lock);
	}
	return (void *)(mine + (long)arg);
}

static void counting(int n)
{
	pthread_t t[64];
	long sum = 0;
	counter = 0;
	for (long i = 0; i < n; i++)
		CHECK(!pthread_create(&t[i], NULL, count, (void *)i));
	for (int i = 0; i < n; i++) {
		void *v;
		CHECK(!pthread_join(t[i], &v));
		sum += (long)v;
	}
	printf("%d threads: %ld, %ld\n", n, counter, sum);
}

// A bounded buffer.
static int buffer[8], used, produced, consumed;
static long total;

static void *producer(void *arg)
{
	for (;;) {
		pthread_mutex_lock(&lock);
		while (used == 8 && produced < 5000)
			pthread_cond_wait(&cond, &lock);
		if (produced == 5000) {
			pthread_cond_broadcast(&cond);
			pthread_mutex_unlock(&lock);
			return arg;
		}
		buffer[used++] = produced++;
		pthread_cond_broadcast(&cond);
		pthread_mutex_unlock(&lock);
	}
}

static void *consumer(void *arg)
{
	for (;;) {
		pthread_mutex_lock(&lock);
		while (!used && consumed < 5000)
			pthread_cond_wait(&cond, &lock);
		if (consumed == 5000) {
			pthread_cond_broadcast(&cond);
			pthread_mutex_unlock(&lock);
			return arg;
		}
		total += buffer[--used];
		consumed++;
		pthread_cond_broadcast(&cond);
		pthread_mutex_unlock(&lock);
	}
}

static void conditions(void)
{
	pthread_t t[8];
	for (int i = 0; i < 8; i++)
		CHECK(!pthread_create(&t[i], NULL, i % 2 ? producer : consumer, NULL));
	for (int i = 0; i < 8; i++)
		pthread_join(t[i], NULL);
	printf("conditions: %d produced, %d consumed, sum %ld\n", produced, consumed, total);
}

static void *floats(void *arg)
{
	double x = (long)arg, y = 1;
	for (int i = 0; i < 20000; i++) {
		y = y * 1.0000001 + x / (i + 1);
		if (i % 1000 == 0)
			sched_yield();
	}
	double *r = malloc(sizeof *r);
	*r = y;
	return r;
}

static void floating(void)
{
	pthread_t t[8];
	for (long i = 0; i < 8; i++)
		CHECK(!pthread_create(&t[i], NULL, floats, (void *)i));
	for (int i = 0; i < 8; i++) {
		double *r;
		pthread_join(t[i], (void **)&r);
		printf("float %d: %.12g\n", i, *r);
		free(r);
	}
}

static pthread_barrier_t barrier;
static int phase[16];

static void *meet(void *arg)
{
	long me = (long)arg;
	for (int i = 0; i < 50; i++) {
		phase[me] = i;
		pthread_barrier_wait(&barrier);
		for (int j = 0; j < 16; j++)
			CHECK(phase[j] == i);
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

static void barriers(void)
{
	pthread_t t[16];
	pthread_barrier_init(&barrier, NULL, 16);
	for (long i = 0; i < 16; i++)
		CHECK(!pthread_create(&t[i], NULL, meet, (void *)i));
	for (int i = 0; i < 16; i++)
		pthread_join(t[i], NULL);
	printf("barriers met\n");
}

static void cleanup(void *arg) { *(int *)arg = 1; }

static void *forever(void *arg)
{
	pthread_cleanup_push(cleanup, arg);
	for (;;)
		pause();
	pthread_cleanup_pop(0);
	return NULL;
}

static void cancellation(void)
{
	pthread_t t;
	void *v;
	int cleaned = 0;
	CHECK(!pthread_create(&t, NULL, forever, &cleaned));
	CHECK(!pthread_cancel(t));
	CHECK(!pthread_join(t, &v));
	printf("cancelled: %d, cleaned %d\n", v == PTHREAD_CANCELED, cleaned);
}

static void *timed(void *arg)
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_nsec += 20000000;
	if (ts.tv_nsec >= 1000000000)
		ts.tv_sec++, ts.tv_nsec -= 1000000000;
	pthread_mutex_lock(&lock);
	int e = pthread_cond_timedwait(&cond, &lock, &ts);
	pthread_mutex_unlock(&lock);
	return (void *)(long)e;
}

static void timeouts(void)
{
	pthread_t t[4];
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_create(&t[i], NULL, timed, NULL));
	for (int i = 0; i < 4; i++) {
		void *v;
		pthread_join(t[i], &v);
		printf("timed wait: %s\n", strerror((long)v));
	}
}

static pthread_mutex_t robust;

static void *dies(void *arg)
{
	pthread_mutex_lock(&robust);
	return arg; // with the mutex held
}

static void robustness(void)
{
	pthread_mutexattr_t a;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&robust, &a);
	pthread_t t;
	CHECK(!pthread_create(&t, NULL, dies, NULL));
	pthread_join(t, NULL);
	int e = pthread_mutex_lock(&robust);
	printf("robust: %s\n", strerror(e));
	CHECK(!pthread_mutex_consistent(&robust));
	CHECK(!pthread_mutex_unlock(&robust));
	CHECK(!pthread_mutex_lock(&robust));
	pthread_mutex_unlock(&robust);
}

static sem_t sem;
static volatile sig_atomic_t handled;
static __thread volatile sig_atomic_t here;

static void handler(int sig)
{
	here = sig;
	handled++;
	sem_post(&sem);
}

static void *receives(void *arg)
{
	while (!here)
		usleep(1000);
	return (void *)(long)here;
}

static void signals(void)
{
	struct sigaction sa = {.sa_handler = handler};
	sigaction(SIGUSR1, &sa, NULL);
	sem_init(&sem, 0, 0);
	pthread_t t[4];
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_create(&t[i], NULL, receives, NULL));
	for (int i = 0; i < 4; i++) {
		CHECK(!pthread_kill(t[i], SIGUSR1));
		while (sem_wait(&sem))
			;
	}
	for (int i = 0; i < 4; i++) {
		void *v;
		pthread_join(t[i], &v);
		printf("thread got signal %ld\n", (long)v);
	}
	printf("%d handled, here %d\n", handled, here);
}

static void *execs(void *arg)
{
	execl("/proc/self/exe", "threads", "exec'd", NULL);
	return arg;
}

static void *spins(void *arg)
{
	for (volatile int *p = arg; !*p;)
		;
	return NULL;
}

// status runs f in a child and tells how that ended.
static void status(const char *what, void (*f)(void))
{
	fflush(stdout);
	pid_t pid = fork();
	if (!pid) {
		f();
		exit(99);
	}
	int st;
	CHECK(waitpid(pid, &st, 0) == pid);
	printf("%s: %#x\n", what, st);
}

static int zero;

static void execThread(void)
{
	pthread_t t;
	for (int i = 0; i < 3; i++)
		pthread_create(&t, NULL, i ? forever : spins, &zero);
	printf("before exec: pid is tid %d\n", getpid() == syscall(SYS_gettid));
	fflush(stdout);
	pthread_create(&t, NULL, execs, NULL);
	pause();
}

static void *exits(void *arg) { exit(5); }

static void exitThread(void)
{
	pthread_t t;
	pthread_create(&t, NULL, spins, &zero);
	pthread_create(&t, NULL, exits, NULL);
	pause();
}

static void *later(void *arg)
{
	usleep(20000);
	exit(6);
}

static void leaderFirst(void)
{
	pthread_t t;
	pthread_create(&t, NULL, later, NULL);
	pthread_exit(NULL);
}

static void *crashes(void *arg)
{
	*(volatile int *)arg = 1;
	return NULL;
}

static void crash(void)
{
	pthread_t t;
	pthread_create(&t, NULL, spins, &zero);
	pthread_create(&t, NULL, crashes, NULL);
	pause();
}

static void *outlives(void *arg)
{
	while (*(volatile int *)arg)
		usleep(1000);
	syscall(SYS_exit, 8); // the status of the last thread is the process's
	return arg;
}

static void lastThread(void)
{
	pthread_t t;
	static int here = 1; // cleared by the kernel when this thread has ended
	syscall(SYS_set_tid_address, &here);
	pthread_create(&t, NULL, outlives, &here);
	syscall(SYS_exit, 7);
}

int main(int argc, char **argv)
{
	if (argc > 1) {
		printf("after exec: %s, pid is tid %d\n", argv[1], getpid() == syscall(SYS_gettid));
		return 3;
	}
	counting(1);
	counting(8);
	counting(64);
	conditions();
	floating();
	barriers();
	cancellation();
	timeouts();
	robustness();
	signals();
	status("exec by a thread", execThread);
	status("exit by a thread", exitThread);
	status("leader first", leaderFirst);
	status("crash of a thread", crash);
	status("last thread", lastThread);
	return 0;
}
