#include "show.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/uio.h>

static int ready(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT | POLLPRI };
	must(poll(&p, 1, 0));
	return p.revents;
}

static uint64_t v;
#define get(fd) ({ v = 0; show(read(fd, &v, 8)); printf("  %llu\n", (unsigned long long)v); })
#define put(fd, n) ({ v = n; show(write(fd, &v, 8)); })

int main(void)
{
	section("counter");
	int fd = must(eventfd(3, EFD_NONBLOCK));
	printf("%#x\n", ready(fd));
	get(fd); get(fd); printf("%#x\n", ready(fd));
	put(fd, 5); put(fd, 6); get(fd);
	put(fd, 0); printf("%#x\n", ready(fd)); get(fd);
	put(fd, UINT64_MAX);
	put(fd, UINT64_MAX - 1); printf("%#x\n", ready(fd)); put(fd, 1);
	put(fd, 0); get(fd);
	show(read(fd, &v, 7)); show(write(fd, &v, 7)); show(read(fd, &v, 0)); show(write(fd, &v, 0));
	char big[24] = { 1 };
	show(write(fd, big, 24)); show(read(fd, big, 24)); printf("%d\n", big[0]);
	struct iovec iov[2] = { { big, 8 }, { big + 8, 8 } };
	put(fd, 9); show(readv(fd, iov, 2)); printf("%d\n", big[0]);
	show(lseek(fd, 0, SEEK_CUR)); show(pread(fd, big, 8, 0)); show(ftruncate(fd, 0));
	show(eventfd(0, 2)); show(fcntl(fd, F_GETFL)); show(fcntl(fd, F_GETFD));
	struct stat st; show(fstat(fd, &st)); printf("%o\n", st.st_mode);
	char link[64] = ""; snprintf(big, sizeof big, "/proc/self/fd/%d", fd);
	show(readlink(big, link, 63)); puts(link);
	show(ioctl(fd, FIONREAD, &v));

	section("semaphore");
	int s = must(eventfd(2, EFD_SEMAPHORE | EFD_CLOEXEC));
	show(fcntl(s, F_GETFD));
	get(s); get(s); printf("%#x\n", ready(s));

	section("blocking");
	if (fork() == 0) { msleep(50); v = 1; write(s, &v, 8); _exit(0); }
	get(s); wait(NULL);
	put(s, UINT64_MAX - 1);
	if (fork() == 0) { msleep(50); read(s, &v, 8); _exit(0); }
	put(s, 1); wait(NULL);

	section("select");
	fd_set r, w; FD_ZERO(&r); FD_ZERO(&w); FD_SET(fd, &r); FD_SET(fd, &w);
	show(select(fd + 1, &r, &w, NULL, NULL)); printf("%d %d\n", FD_ISSET(fd, &r), FD_ISSET(fd, &w));
	put(fd, 1); FD_SET(fd, &r);
	show(select(fd + 1, &r, &w, NULL, NULL)); printf("%d %d\n", FD_ISSET(fd, &r), FD_ISSET(fd, &w));

	section("edges");
	int ep = must(epoll_create1(0));
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLET }, got;
	get(fd);
	show(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	for (int i = 0; i < 2; i++) {
		show(epoll_wait(ep, &got, 1, 0));
		put(fd, 1); show(epoll_wait(ep, &got, 1, 0)); printf("%#x\n", got.events);
		get(fd); show(epoll_wait(ep, &got, 1, 0)); printf("%#x\n", got.events);
	}

	section("many");
	int fds[200]; struct pollfd p[200];
	for (int i = 0; i < 200; i++) { fds[i] = must(eventfd(0, 0)); p[i] = (struct pollfd){ fds[i], POLLIN, 0 }; }
	for (int n = 0; n < 3; n++) {
		if (fork() == 0) { msleep(20); v = 1; write(fds[n * 77], &v, 8); _exit(0); }
		show(poll(p, 200, -1)); printf("%d\n", p[n * 77].revents); wait(NULL); get(fds[n * 77]);
	}
	return 0;
}
