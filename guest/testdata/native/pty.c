#include "show.h"
#include <pty.h>
#include <sys/epoll.h>
#include <termios.h>

static int m, s;
static volatile sig_atomic_t signals[65]; /* that have come since the last look */
static void caught(int sig) { signals[sig]++; }
static char buf[70000];

/* Linux hands what is typed on in a worker thread, which may come late on a busy
   host. A poll that finds nothing waits until the worker is done (n_tty_poll); so
   nothing may be left to read when something is typed. For the rest, this is how
   long to wait until nothing more comes. */
enum { quiet = 60 };
static void settle(void) { struct pollfd p = { s, POLLIN, 0 }; poll(&p, 1, 0); }

/* screen prints what the master has, escaped. */
static void screen(void)
{
	struct pollfd p = { m, POLLIN, 0 };
	settle();
	printf("  screen \"");
	for (int r; (r = poll(&p, 1, quiet)) != 0;) {
		if (r < 0)
			continue; /* a signal */
		if (!(p.revents & POLLIN))
			break;
		int n = read(m, buf, sizeof buf);
		if (n <= 0) { printf("\" %s \"", n ? strerrorname_np(errno) : "end"); break; }
		for (int i = 0; i < n; i++) buf[i] < ' ' || buf[i] > '~' ? printf("\\%o", (unsigned char)buf[i]) : putchar(buf[i]);
	}
	printf("\"");
	for (int i = 1; i < 65; i++)
		if (signals[i]) { printf(" %s %d", sigabbrev_np(i), signals[i]); signals[i] = 0; }
	printf("\n");
}

/* get prints what the slave reads, without waiting. */
static int get(int size)
{
	int fl = fcntl(s, F_GETFL);
	fcntl(s, F_SETFL, fl | O_NONBLOCK);
	int n = read(s, buf, size);
	fcntl(s, F_SETFL, fl);
	if (n < 0) { printf("  read %s\n", strerrorname_np(errno)); return n; }
	printf("  read %d \"", n);
	for (int i = 0; i < n; i++) buf[i] < ' ' || buf[i] > '~' ? printf("\\%o", (unsigned char)buf[i]) : putchar(buf[i]);
	printf("\"\n");
	return n;
}

static void type(const char *keys)
{
	must(write(m, keys, strlen(keys)));
	screen();
	for (int i = 0; i < 20 && get(1000) >= 0; i++);
}

static void modes(unsigned iflag_on, unsigned iflag_off, unsigned oflag_on, unsigned oflag_off, unsigned lflag_on, unsigned lflag_off)
{
	struct termios t;
	must(tcgetattr(s, &t));
	t.c_iflag = (t.c_iflag | iflag_on) & ~iflag_off;
	t.c_oflag = (t.c_oflag | oflag_on) & ~oflag_off;
	t.c_lflag = (t.c_lflag | lflag_on) & ~lflag_off;
	must(tcsetattr(s, TCSANOW, &t));
}

static void fresh(void)
{
	if (m) { close(s); close(m); }
	must(openpty(&m, &s, NULL, NULL, NULL));
}

int main(void)
{
	struct termios t;
	struct winsize w;
	section("beginning");
	fresh();
	must(tcgetattr(s, &t));
	printf("%x %x %x %x %d:", t.c_iflag, t.c_oflag, t.c_cflag, t.c_lflag, t.c_line);
	for (int i = 0; i < 19; i++) printf(" %d", t.c_cc[i]);
	show(ioctl(s, TIOCGWINSZ, &w)); printf("%d %d\n", w.ws_row, w.ws_col);
	show(isatty(s)); show(isatty(m)); show(strncmp(ttyname(s), "/dev/pts/", 9)); show(strcmp(ttyname(s), ptsname(m)));
	struct stat st; fstat(s, &st); printf("%o %d\n", st.st_mode & S_IFMT, (int)(st.st_rdev >> 8)); fstat(m, &st); printf("%o %lx\n", st.st_mode & S_IFMT, (long)st.st_rdev);
	show(lseek(s, 0, SEEK_CUR)); show(tcgetpgrp(s)); show(tcgetsid(s));

	section("lines");
	type("hello\n"); type("two\nlines\n"); get(100); type("part"); type("ly\n");
	type("abc\177d\n"); type("abc def\027ghi\n"); type("gone\025kept\n"); type("\177\025\027x\n");
	type("a\tb\tc\177\177\177\n"); type("ctl\001\033\177\177x\n"); type("lit\026\003\026\n\n"); type("end\004"); type("\004"); type("x\004\004\n"); get(9);
	type("re\022print\n"); type("cr\r"); type("nul\n"); must(write(m, "a\0b\n", 4)); screen(); get(99);
	must(write(m, "longer line\n", 12)); screen(); get(4); get(4); get(100); get(4);
	must(write(m, "abcd\004", 5)); screen(); get(4); get(4);
	must(write(m, "one\ntwo\n", 8)); settle(); msleep(quiet); int n; show(ioctl(s, FIONREAD, &n)); printf("%d\n", n); show(tcflush(s, TCIFLUSH)); get(9); screen();

	section("flags");
	modes(0, 0, 0, 0, 0, ECHO); type("quiet\n"); modes(0, 0, 0, 0, ECHONL, 0); type("nl\n"); modes(0, 0, 0, 0, ECHO, ECHOE); type("ab\177c\n");
	modes(0, 0, 0, 0, ECHOE, ECHOCTL); type("\001\002\177x\n"); modes(0, 0, 0, 0, ECHOCTL, ECHOKE); type("kill\025x\n"); modes(0, 0, 0, 0, ECHOKE, IEXTEN); type("w\027\026x\n");
	modes(INLCR, ICRNL, 0, 0, IEXTEN, 0); type("a\nb\rc\n"); modes(IGNCR, INLCR, 0, 0, 0, 0); type("a\rb\n"); modes(ISTRIP, IGNCR, 0, 0, 0, 0); type("\341\342\n"); modes(ICRNL | IUTF8, ISTRIP, 0, 0, 0, 0); type("\303\251x\177\177y\n");
	tcgetattr(s, &t); t.c_cc[VEOL] = ';'; tcsetattr(s, TCSANOW, &t); type("a;b"); get(9); type("\n");

	section("output");
	show(write(s, "a\nb\tc\r\n", 7)); screen(); modes(0, 0, 0, ONLCR, 0, 0); show(write(s, "a\nb\n", 4)); screen();
	modes(0, 0, ONLCR | TAB3, 0, 0, 0); show(write(s, "a\tbc\t\b\t|\n", 9)); screen(); modes(0, 0, OCRNL, TAB3, 0, 0); show(write(s, "x\r", 2)); screen();
	modes(0, 0, ONOCR, OCRNL, 0, 0); show(write(s, "\r\r\nx\ry\n", 7)); screen(); modes(0, 0, 0, OPOST, 0, 0); show(write(s, "a\n\t", 3)); screen(); modes(0, 0, OPOST, ONOCR, 0, 0);
	modes(0, 0, OLCUC, 0, 0, 0); show(write(s, "Lower\n", 6)); screen(); modes(0, 0, 0, OLCUC, 0, 0);
	type("\023"); fcntl(s, F_SETFL, O_NONBLOCK | O_RDWR); show(write(s, "held", 4)); screen(); type("\021"); show(write(s, "free", 4)); screen();
	show(tcflow(s, TCOOFF)); show(write(s, "x", 1)); show(tcflow(s, TCOON)); show(write(s, "x", 1)); screen();

	section("without lines");
	fresh(); modes(0, 0, 0, 0, 0, ICANON | ECHO);
	type("abc"); type("\177\004\025"); type("\r"); must(write(m, "xyz", 3)); msleep(quiet); get(2); get(2); get(2);
	tcgetattr(s, &t); t.c_cc[VMIN] = 0; t.c_cc[VTIME] = 0; tcsetattr(s, TCSANOW, &t); show(read(s, buf, 9)); write(m, "q", 1); msleep(quiet); show(read(s, buf, 9));
	t.c_cc[VTIME] = 2; tcsetattr(s, TCSANOW, &t); show(read(s, buf, 9));
	t.c_cc[VTIME] = 15; tcsetattr(s, TCSANOW, &t);
	if (fork() == 0) { msleep(60); write(m, "late", 4); _exit(0); } show(read(s, buf, 9)); wait(NULL);
	t.c_cc[VMIN] = 5; tcsetattr(s, TCSANOW, &t);
	if (fork() == 0) { msleep(30); write(m, "ab", 2); msleep(30); write(m, "c", 1); _exit(0); } show(read(s, buf, 9)); wait(NULL);
	t.c_cc[VTIME] = 0; t.c_cc[VMIN] = 3; tcsetattr(s, TCSANOW, &t);
	struct pollfd p = { s, POLLIN, 0 }; write(m, "ab", 2); msleep(quiet); show(poll(&p, 1, 0)); write(m, "c", 1); msleep(quiet); show(poll(&p, 1, 0)); show(read(s, buf, 2)); show(poll(&p, 1, 0)); show(tcflush(s, TCIFLUSH));
	if (fork() == 0) { msleep(30); write(m, "12", 2); msleep(30); write(m, "3456", 4); _exit(0); } show(read(s, buf, 5)); wait(NULL); show(tcflush(s, TCIFLUSH));
	write(m, "typed before", 12); settle(); msleep(quiet); modes(0, 0, 0, 0, ICANON, 0); get(5); get(99); write(m, "line\n", 5); settle(); msleep(quiet); modes(0, 0, 0, 0, 0, ICANON); get(99);

	section("signals and sessions");
	fresh(); fflush(stdout);
	if (fork() == 0) {
		signal(SIGINT, caught); signal(SIGQUIT, caught); signal(SIGTSTP, caught); signal(SIGWINCH, caught);
		show(open("/dev/tty", O_RDWR)); must(setsid()); show(ioctl(s, TIOCSCTTY, 0)); show(tcgetpgrp(s) == getpid()); show(tcgetsid(s) == getsid(0));
		int d = open("/dev/tty", O_RDWR); show(d >= 0); show(write(d, "via tty\n", 8)); screen();
		type("abc\003"); type("def\034\n"); type("\032"); modes(0, 0, 0, 0, NOFLSH, 0); type("ab\003c\n"); modes(0, 0, 0, 0, 0, ISIG); type("\003\n"); modes(0, 0, 0, 0, ISIG, NOFLSH);
		w.ws_row = 5; w.ws_col = 6; show(ioctl(m, TIOCSWINSZ, &w)); screen(); show(ioctl(s, TIOCSWINSZ, &w)); screen(); show(ioctl(s, TIOCGWINSZ, &w)); printf("%d %d\n", w.ws_row, w.ws_col);
		show(tcsetpgrp(s, nobody)); show(tcsetpgrp(s, -1)); show(ioctl(s, TIOCSCTTY, 0));
		/* a job in the background */
		pid_t job = fork();
		if (job == 0) {
			setpgid(0, 0); signal(SIGTTIN, SIG_DFL);
			read(s, buf, 9); show(write(s, "bg\n", 3)); modes(0, 0, TOSTOP, 0, TOSTOP, 0); _exit(7);
		}
		int status;
		show(waitpid(job, &status, WUNTRACED) == job); printf("stopped %d by %s\n", WIFSTOPPED(status), sigabbrev_np(WSTOPSIG(status)));
		signal(SIGTTOU, SIG_IGN); show(tcsetpgrp(s, job)); printf("%d\n", tcgetpgrp(s) == job); write(m, "x\n", 2); kill(-job, SIGCONT);
		show(waitpid(job, &status, WUNTRACED) == job); show(tcsetpgrp(s, getpid())); printf("%d %d\n", WIFSTOPPED(status), WEXITSTATUS(status)); screen();
		job = fork(); if (job == 0) { setpgid(0, 0); signal(SIGTTOU, SIG_DFL); modes(0, 0, 0, 0, 0, 0); _exit(1); }
		show(waitpid(job, &status, WUNTRACED) == job); printf("stopped %d by %s\n", WIFSTOPPED(status), sigabbrev_np(WSTOPSIG(status))); kill(job, SIGKILL); wait(NULL);
		job = fork(); if (job == 0) { setpgid(0, 0); signal(SIGTTIN, SIG_IGN); show(read(s, buf, 9)); exit(0); } wait(NULL);
		exit(0);
	}
	wait(NULL); printf("after the session: "); show(tcgetpgrp(s)); get(9); show(write(s, "x", 1)); p.fd = s; p.events = POLLIN | POLLOUT; show(poll(&p, 1, 0)); printf("%#x\n", p.revents);

	section("closing");
	fresh(); write(s, "last words\n", 11); close(s); screen(); show(read(m, buf, 9)); p.fd = m; p.events = POLLIN | POLLOUT; poll(&p, 1, 0); printf("%#x\n", p.revents); show(write(m, "x", 1));
	s = must(open(ptsname(m), O_RDWR | O_NOCTTY)); p.events = POLLIN; show(poll(&p, 1, 5000)); write(m, "again\n", 6); msleep(quiet); get(99); close(m); get(9); show(write(s, "x", 1)); show(ioctl(s, TIOCGWINSZ, &w)); p.fd = s; p.events = POLLIN | POLLOUT; poll(&p, 1, 0); printf("%#x\n", p.revents); close(s); m = 0;
	fflush(stdout);
	int pid = forkpty(&m, NULL, NULL, NULL);
	if (pid == 0) { signal(SIGHUP, SIG_DFL); write(1, "ready", 5); pause(); _exit(0); }
	read(m, buf, 5); close(m); int status; waitpid(pid, &status, 0); printf("hang-up: %s\n", sigabbrev_np(WTERMSIG(status)));

	section("locked");
	m = must(posix_openpt(O_RDWR | O_NOCTTY)); show(open(ptsname(m), O_RDWR)); show(unlockpt(m)); s = must(open(ptsname(m), O_RDWR | O_NOCTTY)); close(s);
	s = must(ioctl(m, TIOCGPTPEER, O_RDWR | O_NOCTTY)); show(strcmp(ttyname(s), ptsname(m))); unsigned num; show(ioctl(m, TIOCGPTN, &num)); show(ioctl(s, TIOCGPTN, &num));
	show(access("/dev/pts/ptmx", F_OK)); char name[64]; strcpy(name, ptsname(m)); struct stat was, is; show(fstat(s, &was)); close(s); close(m);
	/* the number may be another terminal's by now */
	printf("gone %d\n", stat(name, &is) != 0 || is.st_ctim.tv_sec != was.st_ctim.tv_sec || is.st_ctim.tv_nsec != was.st_ctim.tv_nsec);

	section("much");
	fresh(); pid = fork();
	if (pid == 0) { close(m); for (int i = 0; i < 5000; i++) dprintf(s, "%d\n", i); _exit(0); }
	close(s); long total = 0, sum = 0; while ((n = read(m, buf, 1000)) > 0) { for (int i = 0; i < n; i++) sum = sum * 31 + buf[i]; total += n; } printf("%ld %lx %s\n", total, sum, strerrorname_np(errno)); wait(NULL);
	close(m); m = 0; fresh(); cfmakeraw(&t); tcsetattr(s, TCSANOW, &t); pid = fork();
	if (pid == 0) { for (int i = 0; i < 5000; i++) dprintf(m, "%d\n", i); _exit(0); }
	total = sum = 0; while (total < 23890) { n = read(s, buf, 777); if (n <= 0) break; for (int i = 0; i < n; i++) sum = sum * 31 + buf[i]; total += n; } printf("%ld %lx\n", total, sum); wait(NULL);
	return 0;
}
