#include "show.h"
#include <sys/epoll.h>
#include <sys/timerfd.h>

static uint64_t v;

static int set(int fd, int flags, long ms, long interval)
{
	struct itimerspec its = { { interval / 1000, interval % 1000 * 1000000 }, { ms / 1000, ms % 1000 * 1000000 } };
	return timerfd_settime(fd, flags, &its, NULL);
}

static long now(int clock) { struct timespec t; clock_gettime(clock, &t); return t.tv_sec * 1000 + t.tv_nsec / 1000000; }

static void left(int fd)
{
	struct itimerspec its;
	must(timerfd_gettime(fd, &its));
	printf("interval %ld.%09ld, left %s\n", (long)its.it_interval.tv_sec, its.it_interval.tv_nsec,
	       its.it_value.tv_sec || its.it_value.tv_nsec ? "some" : "none");
}

int main(void)
{
	section("once");
	int fd = must(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
	show(read(fd, &v, 8)); left(fd);
	long start = now(CLOCK_MONOTONIC); /* before the timer starts: hosts are busy */
	show(set(fd, 0, 100000, 0)); left(fd); show(read(fd, &v, 8)); show(set(fd, 0, 20, 0));
	struct pollfd p = { fd, POLLIN | POLLOUT, 0 };
	show(poll(&p, 1, -1)); printf("%#x, in time %d\n", p.revents, now(CLOCK_MONOTONIC) - start >= 19);
	left(fd); show(read(fd, &v, 7)); show(read(fd, &v, 8)); printf("%d\n", (int)v); show(read(fd, &v, 8));
	show(poll(&p, 1, 0)); show(write(fd, &v, 8)); show(lseek(fd, 0, SEEK_SET));

	section("interval");
	show(set(fd, 0, 30, 100)); msleep(285); left(fd);
	show(read(fd, &v, 8)); printf("%d\n", v >= 3); left(fd);
	show(set(fd, 0, 0, 100)); left(fd); msleep(120); show(read(fd, &v, 8));
	show(set(fd, 0, 1, 1)); msleep(100); show(read(fd, &v, 8)); printf("many %d\n", v > 50);
	show(set(fd, 0, 100000, 0)); show(read(fd, &v, 8)); /* the old ones are gone */

	section("absolute");
	int clocks[] = { CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME };
	for (int i = 0; i < 3; i++) {
		int a = must(timerfd_create(clocks[i], 0));
		show(set(a, TFD_TIMER_ABSTIME, now(clocks[i]) + 100000, 0)); left(a); show(set(a, TFD_TIMER_ABSTIME, now(clocks[i]) + 30, 0));
		show(read(a, &v, 8)); printf("%d\n", (int)v);
		show(set(a, TFD_TIMER_ABSTIME, now(clocks[i]) - 500, 0));
		show(read(a, &v, 8)); printf("%d\n", (int)v);
		show(set(a, TFD_TIMER_ABSTIME, now(clocks[i]) - 500, 200));
		show(read(a, &v, 8)); printf("%d\n", v >= 3); /* more on a busy host */
		show(set(a, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, now(clocks[i]) + 10, 0));
		show(read(a, &v, 8)); printf("%d\n", (int)v);
		close(a);
	}

	section("errors");
	show(timerfd_create(CLOCK_PROCESS_CPUTIME_ID, 0)); show(timerfd_create(CLOCK_MONOTONIC, 1));
	show(set(fd, 4, 1, 1)); show(set(0, 0, 1, 1)); show(set(999, 0, 1, 1));
	struct itimerspec bad = { { 0, 0 }, { 0, 1000000000 } };
	show(timerfd_settime(fd, 0, &bad, NULL)); show(timerfd_settime(fd, 0, NULL, NULL));
	bad.it_value.tv_nsec = 5; bad.it_value.tv_sec = -1; show(timerfd_settime(fd, 0, &bad, NULL));
	show(timerfd_gettime(fd, NULL));
	struct itimerspec old; bad.it_value.tv_sec = 3; show(timerfd_settime(fd, 0, &bad, &old));
	printf("%ld\n", (long)old.it_value.tv_sec / 10);

	section("epoll");
	int ep = must(epoll_create1(0));
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };
	show(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev)); show(set(fd, 0, 20, 20));
	show(epoll_wait(ep, &ev, 1, -1)); show(epoll_wait(ep, &ev, 1, 60)); /* not read */
	show(read(fd, &v, 8)); show(epoll_wait(ep, &ev, 1, -1));
	close(fd); show(epoll_wait(ep, &ev, 1, 30));

	section("signals");
	fd = must(timerfd_create(CLOCK_MONOTONIC, 0));
	show(set(fd, 0, 40, 0));
	signal(SIGALRM, SIG_IGN); ualarm(10000, 0);
	show(read(fd, &v, 8)); printf("%d\n", (int)v);
	return 0;
}
