#include "show.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>

static int add(int ep, int fd, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.u64 = fd };
	return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
}

static int mod(int ep, int fd, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.u64 = fd };
	return epoll_ctl(ep, EPOLL_CTL_MOD, fd, &ev);
}

/* collect prints what epoll_wait reports at once. */
static int collect(int ep, int max)
{
	struct epoll_event ev[16];
	int n = epoll_wait(ep, ev, max, 0);
	printf("  %d:", n);
	for (int i = 0; i < n; i++)
		printf(" fd %d %#x", (int)ev[i].data.u64, ev[i].events);
	printf("\n");
	return n;
}

static void put(int fd) { must(write(fd, "x", 1)); }
static void get(int fd) { char c; must(read(fd, &c, 1)); }

static volatile int caught;
static void handler(int s) { caught++; (void)s; }

int main(void)
{
	char buf[65536];
	int p[2], q[2], ep;
	struct epoll_event ev;

	section("level");
	must(pipe(p)); must(pipe(q));
	ep = must(epoll_create1(EPOLL_CLOEXEC));
	show(fcntl(ep, F_GETFD));
	show(add(ep, p[0], EPOLLIN));
	show(add(ep, p[0], EPOLLIN));
	show(add(ep, p[1], EPOLLOUT));
	collect(ep, 16);
	put(p[1]); collect(ep, 16); collect(ep, 16);
	collect(ep, 1); collect(ep, 1); collect(ep, 1); /* in turns */
	get(p[0]); collect(ep, 16);
	show(mod(ep, p[1], 0)); collect(ep, 16);
	show(epoll_ctl(ep, EPOLL_CTL_DEL, p[1], NULL));
	show(epoll_ctl(ep, EPOLL_CTL_DEL, p[1], NULL));
	show(mod(ep, p[1], EPOLLOUT));
	close(p[1]); collect(ep, 16);
	close(p[0]); collect(ep, 16);

	section("edge");
	must(pipe(p));
	show(add(ep, p[0], EPOLLIN | EPOLLET));
	collect(ep, 16);
	put(p[1]); collect(ep, 16); collect(ep, 16);
	put(p[1]); collect(ep, 16); collect(ep, 16);
	get(p[0]); collect(ep, 16);
	get(p[0]); collect(ep, 16);
	put(p[1]); get(p[0]); collect(ep, 16);
	put(p[1]); show(mod(ep, p[0], EPOLLIN | EPOLLET)); collect(ep, 16); collect(ep, 16);
	show(add(ep, p[1], EPOLLOUT | EPOLLET)); collect(ep, 16); collect(ep, 16);
	fcntl(p[1], F_SETFL, O_NONBLOCK);
	memset(buf, 'y', sizeof buf);
	while (write(p[1], buf, 4096) > 0)
		;
	collect(ep, 16); collect(ep, 16);
	show(read(p[0], buf, 1)); collect(ep, 16);
	show(read(p[0], buf, 60000)); collect(ep, 16); collect(ep, 16);
	close(p[1]); collect(ep, 16); collect(ep, 16);
	close(p[0]); collect(ep, 16);

	section("one shot");
	must(pipe(p));
	show(add(ep, p[0], EPOLLIN | EPOLLONESHOT));
	put(p[1]); collect(ep, 16); collect(ep, 16);
	put(p[1]); collect(ep, 16);
	show(mod(ep, p[0], EPOLLIN | EPOLLONESHOT)); collect(ep, 16); collect(ep, 16);
	close(p[1]); collect(ep, 16);
	show(mod(ep, p[0], EPOLLIN)); collect(ep, 16);
	close(p[0]);

	section("descriptors");
	must(pipe(p));
	int d = must(dup(p[0]));
	show(add(ep, p[0], EPOLLIN)); show(add(ep, d, EPOLLIN));
	struct epoll_event two[2];
	put(p[1]); show(epoll_wait(ep, two, 2, 0)); /* in no order that is promised */
	close(p[0]); show(epoll_wait(ep, two, 2, 0)); /* the file is still open */
	close(d); collect(ep, 16);
	close(p[1]);
	show(add(ep, 999, EPOLLIN)); show(add(999, 0, EPOLLIN));
	show(add(ep, ep, EPOLLIN)); show(add(q[0], q[1], EPOLLIN));
	int f = must(open("/proc/self/exe", O_RDONLY));
	show(add(ep, f, EPOLLIN)); close(f);
	f = must(open("/dev/null", O_RDONLY));
	show(add(ep, f, EPOLLIN)); close(f);
	f = must(open("/", O_RDONLY));
	show(add(ep, f, EPOLLIN)); close(f);
	show(epoll_ctl(ep, 7, q[0], &ev));
	show(epoll_ctl(ep, EPOLL_CTL_ADD, q[0], NULL));
	show(epoll_wait(ep, &ev, 0, 0)); show(epoll_wait(ep, &ev, -1, 0));
	show(epoll_wait(q[0], &ev, 1, 0)); show(epoll_wait(999, &ev, 1, 0));
	show(epoll_create(0)); show(epoll_create1(1));
	show(read(ep, buf, 8)); show(write(ep, buf, 8)); show(lseek(ep, 0, SEEK_CUR));
	put(q[1]); show(add(ep, q[0], EPOLLIN));
	show(epoll_wait(ep, (void *)8, 1, 0)); collect(ep, 16);
	get(q[0]);

	section("exclusive");
	int e = must(eventfd(0, 0));
	show(add(ep, e, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT));
	show(add(ep, e, EPOLLIN | EPOLLEXCLUSIVE));
	show(mod(ep, e, EPOLLIN));
	show(eventfd_write(e, 3)); collect(ep, 16);
	show(epoll_ctl(ep, EPOLL_CTL_DEL, e, NULL));

	section("nested");
	int chain[8];
	chain[0] = must(epoll_create1(0));
	show(add(chain[0], e, EPOLLIN));
	for (int i = 1; i < 8; i++) {
		chain[i] = must(epoll_create1(0));
		show(add(chain[i], chain[i - 1], EPOLLIN));
	}
	show(add(chain[0], chain[2], EPOLLIN));
	show(add(chain[0], chain[0], EPOLLIN));
	collect(chain[0], 16); collect(chain[3], 16);
	struct pollfd pf = { .fd = chain[3], .events = POLLIN };
	show(poll(&pf, 1, 0)); printf("%#x\n", pf.revents);
	eventfd_t v; show(eventfd_read(e, &v)); printf("%ld\n", (long)v);
	show(poll(&pf, 1, 0)); collect(chain[3], 16);
	show(mod(chain[3], chain[2], EPOLLIN | EPOLLET));
	show(eventfd_write(e, 1)); collect(chain[3], 16); collect(chain[3], 16);
	show(eventfd_write(e, 1)); collect(chain[3], 16); collect(chain[3], 16);
	for (int i = 0; i < 8; i++) close(chain[i]);

	section("flags and hang-up");
	must(pipe(p));
	show(add(ep, p[1], 0));
	close(p[0]); collect(ep, 16);
	show(mod(ep, p[1], EPOLLOUT | EPOLLET)); collect(ep, 16); collect(ep, 16);
	close(p[1]);

	section("waiting");
	must(pipe(p));
	show(add(ep, p[0], EPOLLIN));
	if (fork() == 0) { msleep(50); put(p[1]); _exit(0); }
	show(epoll_wait(ep, &ev, 1, -1)); wait(NULL);
	get(p[0]);
	show(epoll_wait(ep, &ev, 1, 30));
	struct timespec ts = { 0, 20000000 };
	show(syscall(SYS_epoll_pwait2, ep, &ev, 1, &ts, NULL, 0));
	ts.tv_nsec = -1;
	show(syscall(SYS_epoll_pwait2, ep, &ev, 1, &ts, NULL, 0));
	/* A new item while somebody waits. */
	int r[2]; must(pipe(r)); put(r[1]);
	if (fork() == 0) { msleep(50); _exit(add(ep, r[0], EPOLLIN)); }
	show(epoll_wait(ep, &ev, 1, -1)); wait(NULL);
	printf("same fd: %d\n", (int)ev.data.u64 == r[0]);
	get(r[0]);

	section("signals");
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_RESTART };
	sigaction(SIGUSR1, &sa, NULL);
	pid_t me = getpid();
	if (fork() == 0) { until_asleep(me, me); kill(me, SIGUSR1); _exit(0); }
	show(epoll_wait(ep, &ev, 1, -1)); wait(NULL); printf("caught %d\n", caught);
	sigset_t block, none, now;
	sigemptyset(&none); sigemptyset(&block); sigaddset(&block, SIGUSR1);
	sigprocmask(SIG_BLOCK, &block, NULL);
	kill(me, SIGUSR1);
	show(epoll_wait(ep, &ev, 1, 20)); printf("caught %d\n", caught);
	show(epoll_pwait(ep, &ev, 1, -1, &none)); printf("caught %d\n", caught);
	sigprocmask(SIG_BLOCK, NULL, &now);
	printf("blocked %d\n", sigismember(&now, SIGUSR1));
	put(p[1]); kill(me, SIGUSR1); /* events come first */
	show(epoll_pwait(ep, &ev, 1, -1, &none)); printf("caught %d\n", caught);
	show(syscall(SYS_epoll_pwait, ep, &ev, 1, 0, &none, 3));

	section("a forked table");
	if (fork() == 0) { close(p[0]); _exit(0); }
	wait(NULL); collect(ep, 16);
	return 0;
}
