#include "show.h"
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/eventfd.h>

static int sv[2];

/* pass sends text with n descriptors. */
static int pass(int s, const char *text, int n, const int *fds)
{
	char ctl[2048];
	memset(ctl, 0, sizeof ctl);
	struct iovec iov = { (void *)text, strlen(text) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (n) {
		m.msg_control = ctl;
		m.msg_controllen = CMSG_SPACE(n * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET; c->cmsg_type = SCM_RIGHTS; c->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	}
	return sendmsg(s, &m, 0);
}

/* collected waits until the descriptor that p has in flight is given up. The host looks
   for such ones when a socket is closed, unless it is at that already (unix_gc of Linux
   6.1 to 6.18), perhaps for another process: so one is closed again and again. */
static int collected(struct pollfd *p)
{
	int r = 0;
	for (int i = 0; i < 100 && r == 0; i++) {
		close(socket(AF_UNIX, SOCK_STREAM, 0));
		r = poll(p, 1, 50);
	}
	return r;
}

/* take receives and prints everything; the descriptors are closed again but one. */
static int take(int s, int size, int room, int flags)
{
	char text[64] = "", ctl[2048];
	int kept = -1;
	struct iovec iov = { text, size };
	struct sockaddr_un from;
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room ? ctl : NULL, .msg_controllen = room, .msg_name = &from, .msg_namelen = sizeof from };
	int r = recvmsg(s, &m, flags);
	if (r < 0) { printf("  %s\n", strerrorname_np(errno)); return -1; }
	printf("  %d \"%.*s\" flags %#x name %d control %d:", r, size, text, m.msg_flags, m.msg_namelen, (int)m.msg_controllen);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		printf(" (%d %d %d)", c->cmsg_level, c->cmsg_type, (int)c->cmsg_len);
		if (c->cmsg_type == SCM_RIGHTS) {
			int n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int), fd;
			for (int i = 0; i < n; i++) {
				memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
				printf(" fd%s", fcntl(fd, F_GETFD) == FD_CLOEXEC ? "!" : "");
				if (kept < 0) kept = fd; else close(fd);
			}
		} else {
			struct ucred u; memcpy(&u, CMSG_DATA(c), sizeof u);
			printf(" %s %d %d", u.pid == getpid() || u.pid == 1 ? "me or init" : "other", u.uid, u.gid);
		}
	}
	printf("\n");
	return kept;
}

static int creds(int s, struct ucred u, int size)
{
	char ctl[CMSG_SPACE(sizeof u)] = "";
	struct iovec iov = { "cred", 4 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof ctl };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET; c->cmsg_type = SCM_CREDENTIALS; c->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(c), &u, sizeof u);
	return sendmsg(s, &m, 0);
}

static int opened(void) { int n = 0; for (int i = 0; i < 1024; i++) n += fcntl(i, F_GETFD) >= 0; return n; }

int main(void)
{
	int p[2], fd;
	int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET };
	for (int i = 0; i < 3; i++) {
		printf("-- type %d\n", types[i]);
		must(socketpair(AF_UNIX, types[i], 0, sv)); must(pipe(p));
		int before = opened();
		show(pass(sv[0], "end", 1, &p[0])); fd = take(sv[1], 10, 200, 0);
		write(p[1], "!", 1); char c; show(read(fd, &c, 1)); close(fd);
		int three[] = { p[0], p[1], 0 };
		show(pass(sv[0], "three", 3, three)); close(take(sv[1], 10, 200, MSG_CMSG_CLOEXEC));
		show(pass(sv[0], "three", 3, three)); close(take(sv[1], 10, CMSG_LEN(8), 0));
		show(pass(sv[0], "three", 3, three)); take(sv[1], 10, 0, 0);
		show(pass(sv[0], "three", 3, three)); take(sv[1], 10, 8, 0);
		show(pass(sv[0], "peek", 1, p)); close(take(sv[1], 10, 200, MSG_PEEK)); close(take(sv[1], 2, 200, 0)); take(sv[1], 10, 200, MSG_DONTWAIT);
		/* bounds between messages */
		show(pass(sv[0], "a", 0, p)); show(pass(sv[0], "b", 1, p)); show(pass(sv[0], "c", 0, p)); show(pass(sv[0], "d", 1, p));
		for (int j = 0; j < 4; j++) { int got = take(sv[1], 10, 200, MSG_DONTWAIT); if (got >= 0) close(got); }
		/* thrown away */
		show(pass(sv[0], "x", 1, p)); show(read(sv[1], &c, 1));
		int bad[300]; for (int j = 0; j < 300; j++) bad[j] = p[0];
		show(pass(sv[0], "x", 254, bad)); show(pass(sv[0], "x", 253, bad)); close(take(sv[1], 10, 2048, 0));
		bad[1] = 999; show(pass(sv[0], "x", 2, bad));
		/* who sends */
		int on = 1; must(setsockopt(sv[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
		show(pass(sv[0], "mine", 0, p)); take(sv[1], 10, 200, 0);
		show(pass(sv[0], "both", 1, p)); close(take(sv[1], 10, 200, 0));
		show(pass(sv[0], "cut", 0, p)); take(sv[1], 10, 20, 0);
		show(creds(sv[0], (struct ucred){ getpid(), 0, 0 }, sizeof(struct ucred))); take(sv[1], 10, 200, 0);
		show(creds(sv[0], (struct ucred){ 1, 5, 6 }, sizeof(struct ucred))); take(sv[1], 10, 200, 0);
		show(creds(sv[0], (struct ucred){ 12345678, 0, 0 }, sizeof(struct ucred)));
		show(creds(sv[0], (struct ucred){ getpid(), 0, 0 }, 4));
		if (fork() == 0) { pass(sv[0], "child", 0, p); _exit(0); }
		wait(NULL); show(pass(sv[0], "parent", 0, p)); take(sv[1], 20, 200, MSG_DONTWAIT); take(sv[1], 20, 200, MSG_DONTWAIT);
		printf("left open: %d\n", opened() - before);
		close(sv[0]); close(sv[1]); close(p[0]); close(p[1]);
	}
	section("many messages");
	must(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv));
	struct iovec iov[3] = { { "one", 3 }, { "second", 6 }, { "3", 1 } };
	struct mmsghdr mm[3] = {};
	for (int i = 0; i < 3; i++) { mm[i].msg_hdr.msg_iov = &iov[i]; mm[i].msg_hdr.msg_iovlen = 1; }
	show(sendmmsg(sv[0], mm, 3, 0)); printf("%d %d %d\n", mm[0].msg_len, mm[1].msg_len, mm[2].msg_len);
	char in[3][8]; for (int i = 0; i < 3; i++) iov[i] = (struct iovec){ in[i], 4 };
	show(recvmmsg(sv[1], mm, 3, MSG_DONTWAIT, NULL)); printf("%d %d %d %#x\n", mm[0].msg_len, mm[1].msg_len, mm[2].msg_len, mm[1].msg_hdr.msg_flags);
	show(recvmmsg(sv[1], mm, 3, MSG_DONTWAIT, NULL));
	close(sv[0]); close(sv[1]);

	section("a socket in its own queue");
	must(pipe(p));
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	int both[2] = { sv[1], p[1] };
	show(pass(sv[0], "self", 2, both));
	close(sv[0]); close(sv[1]); close(p[1]);
	struct pollfd pf = { p[0], POLLIN, 0 };
	show(collected(&pf)); printf("%#x\n", pf.revents); /* the pipe is closed: nobody can receive its end */
	close(p[0]);
	section("two in each other's");
	int tv[2]; must(pipe(p));
	must(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv)); must(socketpair(AF_UNIX, SOCK_STREAM, 0, tv));
	int one[2] = { tv[1], p[1] }, two[1] = { sv[1] };
	show(pass(sv[0], "x", 2, one)); show(pass(tv[0], "y", 1, two));
	close(tv[0]); close(tv[1]); close(sv[0]); close(p[1]); pf.fd = p[0];
	show(poll(&pf, 1, 50)); /* sv[1] is still here */
	close(sv[1]); show(collected(&pf)); close(p[0]);
	section("one that can still be had");
	must(pipe(p)); must(socketpair(AF_UNIX, SOCK_STREAM, 0, sv)); must(socketpair(AF_UNIX, SOCK_STREAM, 0, tv));
	show(pass(tv[0], "x", 1, &p[1])); show(pass(sv[0], "y", 1, &tv[1])); close(p[1]); close(tv[0]); close(tv[1]);
	pf.fd = p[0]; show(poll(&pf, 1, 50)); fd = take(sv[1], 9, 99, 0); int w = take(fd, 9, 99, 0); show(write(w, "z", 1)); show(poll(&pf, 1, 50));
	close(w); close(fd); close(sv[0]); close(sv[1]); close(p[0]);
	section("a listener that nobody accepts from");
	must(pipe(p)); int l = must(socket(AF_UNIX, SOCK_STREAM, 0)); struct sockaddr_un a = { AF_UNIX }; socklen_t len = sizeof a;
	must(bind(l, (void *)&a, 2)); must(getsockname(l, (void *)&a, &len)); must(listen(l, 5)); /* a name that nobody has */ int c = must(socket(AF_UNIX, SOCK_STREAM, 0)); must(connect(c, (void *)&a, len));
	both[0] = l; both[1] = p[1]; show(pass(c, "x", 2, both)); close(p[1]); close(l); pf.fd = p[0]; show(poll(&pf, 1, 50) >= 0);
	close(c); show(collected(&pf));
	return 0;
}
