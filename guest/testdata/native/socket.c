#include "show.h"
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <netinet/in.h>

static char buf[1 << 20];
static int sv[2];
static const char *own = ""; /* ends abstract names: other runs have the same network */

static int ready(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP };
	must(poll(&p, 1, 0));
	return p.revents;
}

static void states(const char *when)
{
	printf("  %s: %#x %#x\n", when, ready(sv[0]), ready(sv[1]));
}

static void pair(int type) { must(socketpair(AF_UNIX, type, 0, sv)); }
static void shut(void) { close(sv[0]); close(sv[1]); }

#define get(fd, n, flags) ({ memset(buf, 0, 64); long r = show(recv(fd, buf, n, flags)); if (r > 0 && r < 64) printf("  \"%s\"\n", buf); r; })

static socklen_t addr(struct sockaddr_un *a, const char *name)
{
	memset(a, 0, sizeof *a);
	a->sun_family = AF_UNIX;
	if (name[0] == '@') {
		return offsetof(struct sockaddr_un, sun_path) + 1 + sprintf(a->sun_path + 1, "%s%s", name + 1, own);
	}
	strcpy(a->sun_path, name);
	return sizeof *a;
}

static int bindto(int fd, const char *name) { struct sockaddr_un a; socklen_t n = addr(&a, name); return bind(fd, (void *)&a, n); }
static int connectto(int fd, const char *name) { struct sockaddr_un a; socklen_t n = addr(&a, name); return connect(fd, (void *)&a, n); }
static int sendname(int fd, const char *name, const char *s) { struct sockaddr_un a; socklen_t n = addr(&a, name); return sendto(fd, s, strlen(s), 0, (void *)&a, n); }

/* common is the length of an address without what only this run has. */
static int common(const struct sockaddr_un *a, int n)
{
	int most = n - strlen(own);
	return most > 2 && !a->sun_path[0] && !memcmp((const char *)a + most, own, n - most) ? most : n;
}

static void name(int fd, int (*f)(int, struct sockaddr *, socklen_t *))
{
	struct sockaddr_un a;
	socklen_t n = sizeof a;
	memset(&a, '!', sizeof a);
	if (f(fd, (void *)&a, &n) < 0) {
		printf("  name: %s\n", strerrorname_np(errno));
		return;
	}
	n = common(&a, n);
	printf("  name: %d family %d ", n, a.sun_family);
	for (int i = 0; i < (int)n - 2 && i < 108; i++)
		putchar(a.sun_path[i] ? a.sun_path[i] : '@');
	printf("\n");
}

static int opt(int fd, int o) { int v = -7; socklen_t n = sizeof v; return getsockopt(fd, SOL_SOCKET, o, &v, &n) < 0 ? -errno : v; }

static void options(int fd)
{
	printf("  type %d domain %d protocol %d error %d accept %d pass %d\n", opt(fd, SO_TYPE), opt(fd, SO_DOMAIN),
	       opt(fd, SO_PROTOCOL), opt(fd, SO_ERROR), opt(fd, SO_ACCEPTCONN), opt(fd, SO_PASSCRED));
	struct ucred c; socklen_t n = sizeof c;
	must(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &n));
	printf("  peer %s %d %d\n", c.pid == getpid() ? "me" : c.pid ? "other" : "nobody", c.uid, c.gid);
}

static void caught(int s) { printf("  signal %d\n", s); }

int main(void)
{
	signal(SIGPIPE, caught);
	section("making");
	show(socket(AF_INET, SOCK_STREAM, 0) >= 0 || errno == EAFNOSUPPORT);
	show(socket(99, SOCK_STREAM, 0)); show(socket(AF_UNIX, 9, 0)); show(socket(AF_UNIX, SOCK_STREAM, 5));
	show(socket(AF_UNIX, SOCK_STREAM | 0x1000, 0)); show(socketpair(AF_UNIX, SOCK_STREAM, 0, (void *)8));
	int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET };
	for (int i = 0; i < 3; i++) {
		int s = must(socket(AF_UNIX, types[i] | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
		printf("%d: %#x %d %d\n", types[i], fcntl(s, F_GETFL), fcntl(s, F_GETFD), ready(s));
		options(s); name(s, getsockname); name(s, getpeername);
		get(s, 9, 0); show(send(s, "x", 1, 0)); show(shutdown(s, 7)); show(shutdown(s, SHUT_RD));
		show(listen(s, 1)); show(accept(s, NULL, NULL)); struct stat st; fstat(s, &st); printf("%o\n", st.st_mode);
		show(lseek(s, 0, 0)); show(pread(s, buf, 1, 0)); show(ioctl(s, TCGETS, buf)); show(ftruncate(s, 0));
		close(s);
	}

	for (int i = 0; i < 3; i++) {
		printf("-- pair of type %d\n", types[i]);
		pair(types[i]);
		options(sv[0]); name(sv[0], getsockname); name(sv[0], getpeername);
		states("new");
		show(send(sv[0], "hello", 5, 0)); show(write(sv[0], "world", 5)); states("sent");
		int n; show(ioctl(sv[1], FIONREAD, &n)); printf("%d\n", n);
		get(sv[1], 3, MSG_PEEK); get(sv[1], 64, MSG_PEEK); get(sv[1], 3, MSG_TRUNC); get(sv[1], 64, 0);
		get(sv[1], 64, MSG_DONTWAIT);
		show(send(sv[0], "", 0, 0)); get(sv[1], 64, MSG_DONTWAIT);
		show(recv(sv[1], (void *)8, 4, MSG_DONTWAIT)); show(send(sv[0], (void *)8, 4, 0));
		show(send(sv[0], "fault", 5, 0)); show(recv(sv[1], (void *)8, 4, 0)); get(sv[1], 64, MSG_DONTWAIT);
		/* shutting down */
		show(shutdown(sv[0], SHUT_WR)); states("half shut");
		show(send(sv[0], "x", 1, 0)); show(send(sv[0], "x", 1, MSG_NOSIGNAL)); get(sv[1], 9, MSG_DONTWAIT);
		show(send(sv[1], "back", 4, 0)); get(sv[0], 9, 0);
		show(shutdown(sv[1], SHUT_WR)); states("shut"); get(sv[0], 9, MSG_DONTWAIT);
		shut();
		/* closing */
		pair(types[i]); show(write(sv[0], "left", 4)); close(sv[0]);
		printf("  closed: %#x\n", ready(sv[1])); get(sv[1], 64, MSG_DONTWAIT); get(sv[1], 64, MSG_DONTWAIT);
		show(write(sv[1], "x", 1)); show(send(sv[1], "x", 1, MSG_NOSIGNAL)); name(sv[1], getpeername); options(sv[1]);
		close(sv[1]);
		pair(types[i]); show(write(sv[0], "lost", 4)); close(sv[1]);
		printf("  unread: %#x\n", ready(sv[0])); get(sv[0], 64, MSG_DONTWAIT); get(sv[0], 64, MSG_DONTWAIT);
		show(write(sv[0], "x", 1)); close(sv[0]);
		/* waiting */
		pair(types[i]);
		if (fork() == 0) { close(sv[1]); msleep(50); write(sv[0], "late", 4); _exit(0); }
		get(sv[1], 64, 0); wait(NULL);
		struct timeval tv = { 0, 20000 };
		show(setsockopt(sv[1], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv)); get(sv[1], 64, 0);
		memset(&tv, 0, sizeof tv); socklen_t len = sizeof tv;
		show(getsockopt(sv[1], SOL_SOCKET, SO_RCVTIMEO, &tv, &len)); printf("%d\n", (int)tv.tv_usec);
		shut();
	}

	section("large");
	pair(SOCK_STREAM);
	for (unsigned i = 0; i < sizeof buf; i++) buf[i] = i * 7 / 3;
	if (fork() == 0) { close(sv[1]); show(write(sv[0], buf, sizeof buf)); exit(0); }
	close(sv[0]);
	long sum = 0, total = 0, r;
	while ((r = read(sv[1], buf, 10007)) > 0) { for (int i = 0; i < r; i++) sum = sum * 31 + (unsigned char)buf[i]; total += r; }
	printf("%ld %lx %ld\n", total, sum, r); wait(NULL); close(sv[1]);
	pair(SOCK_STREAM);
	if (fork() == 0) { close(sv[1]); for (int i = 0; i < 5; i++) { msleep(10); write(sv[0], "12345", 5); } exit(0); }
	close(sv[0]); get(sv[1], 12, MSG_WAITALL); get(sv[1], 40, MSG_WAITALL); wait(NULL); close(sv[1]);
	pair(SOCK_DGRAM); show(send(sv[0], buf, 250000, 0)); show(send(sv[0], buf, 200000, 0));
	show(recv(sv[1], buf, 100, MSG_TRUNC)); shut();
	pair(SOCK_STREAM); fcntl(sv[0], F_SETFL, O_NONBLOCK);
	while (write(sv[0], buf, 4096) > 0) ;
	printf("%s %#x\n", strerrorname_np(errno), ready(sv[0]));
	total = 0; fcntl(sv[1], F_SETFL, O_NONBLOCK); while ((r = read(sv[1], buf, 1000)) > 0) total += r;
	printf("%d %#x\n", total > 100000, ready(sv[0])); shut();

	section("names");
	int l = must(socket(AF_UNIX, SOCK_STREAM, 0));
	char dir[] = "/tmp/socketXXXXXX"; must((long)mkdtemp(dir)); must(chdir(dir));
	own = dir + strlen(dir) - 6;
	show(bindto(l, "name")); name(l, getsockname); show(bindto(l, "other")); show(bindto(l, "name"));
	struct stat st; show(lstat("name", &st)); printf("%o\n", st.st_mode); show(open("name", O_RDWR));
	int c = must(socket(AF_UNIX, SOCK_STREAM, 0));
	show(connectto(c, "nosuch")); show(connectto(c, "name")); show(connectto(c, "/")); show(connectto(c, "@abstract"));
	show(bindto(c, "name")); show(bindto(c, "no/such")); show(bindto(c, "/"));
	show(listen(c, 1)); show(listen(l, 1)); show(listen(l, 2)); options(l); printf("%#x\n", ready(l));
	show(connectto(l, "name")); show(connectto(c, "name")); show(connectto(c, "name")); printf("%#x\n", ready(l));
	name(c, getpeername); name(c, getsockname); options(c); show(write(c, "early", 5));
	struct sockaddr_un from; socklen_t fromlen = sizeof from;
	int a = must(accept4(l, (void *)&from, &fromlen, SOCK_CLOEXEC)); printf("%d family %d\n", fromlen, from.sun_family);
	name(a, getsockname); name(a, getpeername); options(a); get(a, 64, 0);
	show(write(a, "reply", 5)); get(c, 64, 0); close(a); get(c, 64, 0); close(c);
	show(read(l, buf, 1)); show(write(l, buf, 1)); show(accept4(l, NULL, NULL, 1)); show(accept(0, NULL, NULL));
	int d = must(socket(AF_UNIX, SOCK_DGRAM, 0)); show(connectto(d, "name")); close(d);
	show(rename("name", "moved")); c = must(socket(AF_UNIX, SOCK_STREAM, 0)); show(connectto(c, "moved")); close(c);
	/* the backlog */
	fcntl(l, F_SETFL, O_NONBLOCK); c = accept(l, NULL, NULL); close(c); show(accept(l, NULL, NULL)); fcntl(l, F_SETFL, 0);
	int many[6];
	for (int i = 0; i < 6; i++) { many[i] = must(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)); show(connectto(many[i], "moved")); }
	if (fork() == 0) { msleep(50); must(accept(l, NULL, NULL)); _exit(0); }
	fcntl(many[5], F_SETFL, 0); show(connectto(many[5], "moved")); wait(NULL);
	show(write(many[1], "x", 1)); close(l);
	show(read(many[1], buf, 1)); show(read(many[1], buf, 1)); show(connectto(many[4], "moved"));
	for (int i = 0; i < 6; i++) close(many[i]);
	unlink("moved");
	/* abstract, and by itself */
	l = must(socket(AF_UNIX, SOCK_SEQPACKET, 0)); show(bindto(l, "@goskas-test")); name(l, getsockname); show(listen(l, 5));
	c = must(socket(AF_UNIX, SOCK_SEQPACKET, 0)); show(bindto(c, "@goskas-test"));
	sa_family_t un = AF_UNIX; show(bind(c, (void *)&un, 2)); fromlen = sizeof from; getsockname(c, (void *)&from, &fromlen); printf("%d\n", fromlen);
	show(connectto(c, "@goskas-test")); fromlen = sizeof from; a = must(accept(l, (void *)&from, &fromlen)); printf("%d\n", fromlen);
	show(send(c, "one", 3, MSG_EOR)); show(send(c, "two", 3, 0)); get(a, 2, 0); get(a, 64, 0); close(l); close(a); close(c);
	c = must(socket(AF_UNIX, SOCK_SEQPACKET, 0)); show(connectto(c, "@goskas-test")); close(c);
	show(bind(0, (void *)&un, 2)); c = must(socket(AF_UNIX, SOCK_STREAM, 0)); show(bind(c, (void *)&un, 1)); show(bind(c, (void *)&un, 200));
	un = AF_INET; show(bind(c, (void *)&un, 2)); show(connect(c, (void *)&un, 2)); close(c);
	/* waiting for somebody to connect */
	l = must(socket(AF_UNIX, SOCK_STREAM, 0)); must(bindto(l, "@goskas-test")); must(listen(l, 5));
	int ep = must(epoll_create1(0)); struct epoll_event ev = { .events = EPOLLIN | EPOLLET }; must(epoll_ctl(ep, EPOLL_CTL_ADD, l, &ev));
	if (fork() == 0) { msleep(50); int s = socket(AF_UNIX, SOCK_STREAM, 0); must(connectto(s, "@goskas-test")); get(s, 9, 0); exit(0); }
	show(epoll_wait(ep, &ev, 1, -1)); c = must(accept(l, NULL, NULL)); must(write(c, "welcome", 7)); wait(NULL); options(c); close(c); close(l);

	section("datagrams");
	int x = must(socket(AF_UNIX, SOCK_DGRAM, 0)), y = must(socket(AF_UNIX, SOCK_DGRAM, 0));
	show(bindto(x, "x")); show(bindto(y, "@goskas-y")); show(sendname(x, "@goskas-y", "to y")); show(sendname(y, "x", "to x")); show(sendname(y, "z", "to z"));
	fromlen = sizeof from; show(recvfrom(y, buf, 64, 0, (void *)&from, &fromlen)); printf("%d %s\n", fromlen, from.sun_path);
	fromlen = sizeof from; show(recvfrom(x, buf, 64, 0, (void *)&from, &fromlen)); fromlen = common(&from, fromlen); printf("%d %.*s\n", fromlen, (int)fromlen - 3, from.sun_path + 1);
	show(send(x, "nowhere", 7, 0)); show(connectto(x, "@goskas-y")); show(send(x, "there", 5, 0)); get(y, 64, 0);
	int z = must(socket(AF_UNIX, SOCK_DGRAM, 0)); show(sendname(z, "x", "stranger")); show(connectto(z, "x"));
	show(sendname(z, "@goskas-y", "anonymous")); fromlen = sizeof from; show(recvfrom(y, buf, 64, 0, (void *)&from, &fromlen)); printf("%d\n", fromlen);
	fcntl(z, F_SETFL, O_NONBLOCK); int n = 0; while (sendname(z, "@goskas-y", "many") > 0) n++; printf("%s after some: %d\n", strerrorname_np(errno), n > 3 && n < 2000);
	printf("%#x\n", ready(x)); close(y); printf("%#x\n", ready(x)); show(send(x, "gone", 4, 0)); show(send(x, "gone", 4, 0));
	struct sockaddr none = { .sa_family = AF_UNSPEC }; show(connect(x, &none, sizeof none)); name(x, getpeername); close(x); close(z);
	unlink("x"); chdir("/"); show(rmdir(dir));

	section("options");
	pair(SOCK_STREAM);
	int v = 1000; show(setsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &v, 4)); v = 50000; show(setsockopt(sv[0], SOL_SOCKET, SO_RCVBUF, &v, 4));
	printf("%d %d\n", opt(sv[0], SO_SNDBUF), opt(sv[0], SO_RCVBUF));
	v = 5; show(setsockopt(sv[0], SOL_SOCKET, SO_REUSEADDR, &v, 4)); printf("%d\n", opt(sv[0], SO_REUSEADDR));
	show(setsockopt(sv[0], SOL_SOCKET, SO_KEEPALIVE, &v, 2)); show(setsockopt(sv[0], IPPROTO_TCP, 1, &v, 4)); show(setsockopt(sv[0], SOL_SOCKET, 999, &v, 4));
	socklen_t len = 4; show(getsockopt(sv[0], IPPROTO_TCP, 1, &v, &len)); show(getsockopt(sv[0], SOL_SOCKET, 999, &v, &len)); show(getsockopt(0, SOL_SOCKET, SO_TYPE, &v, &len));
	len = 2; v = -1; show(getsockopt(sv[0], SOL_SOCKET, SO_TYPE, &v, &len)); printf("%d %#x\n", len, v); len = -1; show(getsockopt(sv[0], SOL_SOCKET, SO_TYPE, &v, &len));
	shut();
	section("sendfile");
	pair(SOCK_STREAM); int f = must(open("/proc/self/exe", O_RDONLY)); show(sendfile(sv[0], f, NULL, 1000)); show(recv(sv[1], buf, 2000, 0)); printf("%.3s\n", buf + 1); shut();
	section("edges");
	pair(SOCK_STREAM); ev.events = EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP; must(epoll_ctl(ep, EPOLL_CTL_ADD, sv[0], &ev));
#define events() ({ ev.events = 0; int n_ = epoll_wait(ep, &ev, 1, 0); printf("  %d %#x\n", n_, ev.events); })
	events(); events(); write(sv[1], "ab", 2); events(); events(); get(sv[0], 1, 0); events(); write(sv[1], "c", 1); events(); get(sv[0], 9, 0); events();
	shutdown(sv[1], SHUT_WR); events(); events(); close(sv[1]); events(); events(); close(sv[0]); events();
	return 0;
}
