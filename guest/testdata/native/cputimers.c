#include "show.h"
#include <pthread.h>
#include <sys/time.h>

static volatile int n, last[4], overrun; /* overrun: the most */

static void note(int sig, siginfo_t *si, void *uc)
{
	n++;
	last[0] = sig, last[1] = si->si_code, last[2] = si->si_value.sival_int, last[3] = si->si_overrun;
	overrun = si->si_overrun > overrun ? si->si_overrun : overrun;
}

static void on(int sig)
{
	struct sigaction sa = { .sa_sigaction = note, .sa_flags = SA_SIGINFO };
	sigaction(sig, &sa, NULL);
}

static void burn(int until)
{
	for (volatile long i = 0; n < until; i++);
}

static struct itimerval ms(int value, int interval)
{
	return (struct itimerval){ { interval / 1000, interval % 1000 * 1000 }, { value / 1000, value % 1000 * 1000 } };
}

static void itimers(void)
{
	section("interval timers");
	int which[] = { ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF }, sigs[] = { SIGALRM, SIGVTALRM, SIGPROF };
	struct itimerval it, old;
	for (int i = 0; i < 3; i++) {
		on(sigs[i]);
		n = 0;
		it = ms(10, 10);
		show(setitimer(which[i], &it, NULL));
		show(getitimer(which[i], &old)); printf("left %d of %ld\n", old.it_value.tv_usec > 0, old.it_interval.tv_usec);
		burn(3);
		it = ms(0, 0);
		show(setitimer(which[i], &it, &old)); printf("left %d, signal %d code %d\n", old.it_value.tv_usec > 0, last[0], last[1]);
		show(getitimer(which[i], &old)); printf("%ld %ld\n", old.it_value.tv_usec, old.it_interval.tv_usec);
	}
	it = ms(20, 0);
	n = 0; show(setitimer(ITIMER_VIRTUAL, &it, NULL)); msleep(80); printf("asleep: %d\n", n); burn(1); printf("busy: %d\n", n);
	show(setitimer(3, &it, NULL)); show(getitimer(3, &it)); show(setitimer(0, &(struct itimerval){ { 0, 1000000 } }, NULL)); show(setitimer(0, (void *)8, NULL));
	show(setitimer(0, &(struct itimerval){ { 0, 0 }, { -1, 0 } }, NULL));
	show(alarm(100)); show(alarm(0)); show(alarm(0));
	it = ms(50, 0); n = 0; setitimer(ITIMER_REAL, &it, NULL);
	if (!fork()) { getitimer(ITIMER_REAL, &it); printf("child's: %ld\n", it.it_value.tv_usec); _exit(0); }
	while (n < 1 || wait(NULL) > 0) msleep(1);
}

static int set(timer_t t, int flags, int value, int interval)
{
	struct itimerspec its = { { interval / 1000, interval % 1000 * 1000000L }, { value / 1000, value % 1000 * 1000000L } };
	return syscall(SYS_timer_settime, (int)(long)t, flags, &its, NULL);
}

static int create(int clock, int notify, int sig, int value, int tid)
{
	int id;
	struct sigevent ev = { .sigev_notify = notify, .sigev_signo = sig, .sigev_value.sival_int = value };
	ev._sigev_un._tid = tid;
	return syscall(SYS_timer_create, clock, &ev, &id) ? -1 : id;
}

static void get(int id)
{
	struct itimerspec its;
	show(syscall(SYS_timer_gettime, id, &its));
	printf("left %d, interval %ld\n", its.it_value.tv_nsec > 0 || its.it_value.tv_sec > 0, its.it_interval.tv_nsec / 1000000);
}

static volatile int here;

static void *target(void *arg)
{
	struct timespec ts = { 5, 0 };
	here = syscall(SYS_gettid);
	return (void *)(long)nanosleep(&ts, NULL);
}

static void timers(void)
{
	section("timer_create");
	on(SIGUSR1); on(SIGALRM);
	int a = create(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR1, 77, 0);
	printf("id %d\n", a);
	get(a);
	n = 0; show(set((timer_t)(long)a, 0, 100000, 0)); get(a); show(set((timer_t)(long)a, 0, 20, 0)); while (!n) msleep(1); printf("signal %d code %d value %d overrun %d\n", last[0], last[1], last[2], last[3]);
	get(a); show(syscall(SYS_timer_getoverrun, a));
	sigset_t s;
	sigemptyset(&s); sigaddset(&s, SIGUSR1);
	sigprocmask(SIG_BLOCK, &s, NULL);
	n = overrun = 0; show(set((timer_t)(long)a, 0, 5, 5)); msleep(100); show(syscall(SYS_timer_getoverrun, a)); get(a);
	sigprocmask(SIG_UNBLOCK, &s, NULL); printf("n %d overrun %d\n", n >= 1, overrun > 5); show(syscall(SYS_timer_getoverrun, a) > 5 || n > 1);
	show(set((timer_t)(long)a, 0, 0, 0)); get(a);
	sigprocmask(SIG_BLOCK, &s, NULL);
	n = 0; show(set((timer_t)(long)a, 0, 1, 0)); msleep(20); show(set((timer_t)(long)a, 0, 0, 0)); sigprocmask(SIG_UNBLOCK, &s, NULL); printf("taken back: %d\n", n);
	sigprocmask(SIG_BLOCK, &s, NULL);
	n = 0; show(set((timer_t)(long)a, 0, 1, 0)); msleep(20); show(syscall(SYS_timer_delete, a)); sigprocmask(SIG_UNBLOCK, &s, NULL); printf("deleted: %d\n", n);
	show(syscall(SYS_timer_delete, a)); show(set((timer_t)(long)a, 0, 1, 0)); show(syscall(SYS_timer_gettime, a, &s)); show(syscall(SYS_timer_getoverrun, a));
	int b = show(create(CLOCK_REALTIME, SIGEV_NONE, 0, 0, 0)); show(set((timer_t)(long)b, 0, 100000, 0)); get(b); show(set((timer_t)(long)b, 0, 20, 0)); msleep(50); get(b);
	show(create(CLOCK_MONOTONIC, 9, SIGUSR1, 0, 0)); show(create(CLOCK_MONOTONIC, SIGEV_SIGNAL, 0, 0, 0)); show(create(CLOCK_MONOTONIC, SIGEV_SIGNAL, 65, 0, 0));
	show(create(99, SIGEV_SIGNAL, SIGUSR1, 0, 0)); show(create(CLOCK_MONOTONIC, SIGEV_THREAD_ID, SIGUSR1, 0, nobody));
	show(syscall(SYS_timer_create, CLOCK_MONOTONIC, 8, &a)); show(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, 8));
	show(syscall(SYS_timer_settime, b, 0, NULL, NULL)); show(syscall(SYS_timer_settime, b, 0, &(struct itimerspec){ { 0, 0 }, { 0, 1000000000 } }, NULL));
	int c = show(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &a)); c = a;
	n = 0; show(set((timer_t)(long)c, 0, 10, 0)); while (!n) msleep(1); printf("signal %d value is id %d\n", last[0], last[2] == c);
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	struct itimerspec its = { { 0, 0 }, now };
	n = 0; show(syscall(SYS_timer_settime, c, TIMER_ABSTIME, &its, NULL)); while (!n) msleep(1); printf("past: %d\n", n);
	pthread_t t;
	pthread_create(&t, NULL, target, NULL);
	void *woken;
	while (!here) msleep(1);
	until_asleep(getpid(), here);
	int d = show(create(CLOCK_MONOTONIC, SIGEV_THREAD_ID, SIGUSR1, 5, here)); n = 0; show(set((timer_t)(long)d, 0, 10, 0));
	pthread_join(t, &woken); printf("thread woken %ld, value %d\n", (long)woken, last[2]);
	int e = show(create(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, SIGUSR1, 6, 0)); n = 0; show(set((timer_t)(long)e, 0, 20, 0)); msleep(60); printf("asleep %d\n", n); burn(1); printf("busy %d value %d\n", n, last[2]);
	e = show(create(CLOCK_THREAD_CPUTIME_ID, SIGEV_SIGNAL, SIGUSR1, 7, 0)); n = 0; show(set((timer_t)(long)e, 0, 10, 10)); burn(3); printf("busy %d value %d\n", n >= 3, last[2]); show(syscall(SYS_timer_delete, e));
	n = 0; show(set((timer_t)(long)c, 0, 30, 0));
	if (!fork()) { show(syscall(SYS_timer_gettime, c, &its)); _exit(0); }
	while (n < 1 || wait(NULL) > 0) msleep(1);
}

static void *spin(void *arg)
{
	clockid_t c;
	struct timespec a, b;
	pthread_getcpuclockid(pthread_self(), &c);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
	do
		clock_gettime(c, &b);
	while ((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 < 20);
	return NULL;
}

static void clocks(void)
{
	section("CPU clocks");
	struct timespec p, q;
	clockid_t c;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &p);
	pthread_t t[2];
	for (int i = 0; i < 2; i++) pthread_create(&t[i], NULL, spin, NULL);
	for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &q);
	printf("of the process: %d\n", (q.tv_sec - p.tv_sec) * 1000 + (q.tv_nsec - p.tv_nsec) / 1000000 >= 39);
	show(clock_getcpuclockid(0, &c)); show(clock_gettime(c, &p)); show(clock_getcpuclockid(getppid(), &c)); show(clock_gettime(c, &p)); show(clock_gettime(-1, &p));
	show(clock_getcpuclockid(nobody, &c) != 0);
}

int main(void) { itimers(); timers(); clocks(); return 0; }
