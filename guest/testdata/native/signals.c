#include "show.h"
#include <pthread.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/uio.h>
#include <ucontext.h>

#define SA_EXPOSE 0x800
#define SA_UNSUPP 0x400
#define AUTODISARM (1u << 31)

static volatile int n, infos[64][6];
static volatile void *sp;
static volatile int *handled; /* how often note has run, for children to see */

static void note(int sig, siginfo_t *si, void *uc)
{
	volatile int *i = infos[n++ % 64];
	i[0] = sig, i[1] = si->si_code, i[2] = si->si_pid == getpid(), i[3] = si->si_uid, i[4] = si->si_value.sival_int;
	i[5] = si->si_overrun;
	sp = &i;
	++*handled;
}

static void said(void)
{
	for (int i = 0; i < n && i < 64; i++)
		printf("  signal %d code %d self %d uid %d value %d\n", infos[i][0], infos[i][1], infos[i][2], infos[i][3], infos[i][4]);
	printf("  %d in all\n", n);
	n = 0;
}

static int on(int sig, void (*f)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = { .sa_sigaction = f, .sa_flags = flags | SA_SIGINFO };
	return sigaction(sig, &sa, NULL);
}

static void block(int how, int sig)
{
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, sig);
	sigprocmask(how, &s, NULL);
}

static int queue(int sig, int code, int value)
{
	siginfo_t si = { .si_code = code };
	si.si_pid = getpid();
	si.si_value.sival_int = value;
	return syscall(SYS_rt_sigqueueinfo, getpid(), sig, &si);
}

static int tqueue(int tgid, int tid, int sig, int code, int value)
{
	siginfo_t si = { .si_code = code };
	si.si_pid = getpid();
	si.si_value.sival_int = value;
	return syscall(SYS_rt_tgsigqueueinfo, tgid, tid, sig, &si);
}

static void order(void)
{
	section("order and queueing");
	int sigs[] = { SIGRTMIN + 3, SIGUSR2, SIGRTMIN, SIGUSR1, SIGRTMIN + 3, SIGUSR2 };
	for (int i = 0; i < 6; i++) {
		on(sigs[i], note, 0);
		block(SIG_BLOCK, sigs[i]);
	}
	for (int i = 0; i < 6; i++)
		sigqueue(getpid(), sigs[i], (union sigval){ .sival_int = i + 100 });
	kill(getpid(), SIGRTMIN + 3);
	syscall(SYS_tgkill, getpid(), getpid(), SIGRTMIN + 3); // for the thread: before the process's
	sigset_t s;
	sigpending(&s);
	printf("pending %d %d %d %d\n", sigismember(&s, SIGUSR1), sigismember(&s, SIGRTMIN), sigismember(&s, SIGRTMIN + 1), sigismember(&s, SIGALRM));
	for (int i = 0; i < 6; i++) { // one by one: which handler runs first is not the question
		block(SIG_UNBLOCK, sigs[i]);
		block(SIG_BLOCK, sigs[i]);
	}
	said();
	for (int i = 0; i < 6; i++)
		block(SIG_UNBLOCK, sigs[i]);
}

static void errors(void)
{
	section("errors");
	show(kill(getpid(), 65)); show(kill(getpid(), -1)); show(kill(nobody, 0)); show(kill(nobody, 99)); show(kill(-nobody, 0));
	show(kill(getpid(), 0)); show(kill(0x80000000, 1));
	show(syscall(SYS_tkill, 0, 0)); show(syscall(SYS_tkill, nobody, 0)); show(syscall(SYS_tkill, nobody, 99)); show(syscall(SYS_tkill, getpid(), 99));
	show(syscall(SYS_tkill, getpid(), 0));
	show(syscall(SYS_tgkill, -1, getpid(), 0)); show(syscall(SYS_tgkill, nobody, getpid(), 0)); show(syscall(SYS_tgkill, getpid(), 0, 0));
	show(syscall(SYS_tgkill, getpid(), getpid(), 0));
	show(queue(SIGUSR1, SI_TKILL, 0)); n = 0;
	show(queue(99, SI_QUEUE, 0)); show(queue(-1, SI_QUEUE, 0));
	show(syscall(SYS_rt_sigqueueinfo, getppid(), SIGUSR1, &(siginfo_t){ .si_code = SI_USER }));
	show(syscall(SYS_rt_sigqueueinfo, getppid(), 0, &(siginfo_t){ .si_code = SI_KERNEL }));
	show(syscall(SYS_rt_sigqueueinfo, nobody, 0, &(siginfo_t){ .si_code = SI_QUEUE }));
	show(syscall(SYS_rt_sigqueueinfo, nobody, 0, &(siginfo_t){ .si_code = SI_USER }));
	show(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, 8));
	show(tqueue(0, 0, SIGUSR1, SI_QUEUE, 0)); show(tqueue(getpid(), 0, SIGUSR1, SI_QUEUE, 0));
	show(tqueue(nobody, getpid(), SIGUSR1, SI_QUEUE, 0)); show(tqueue(getpid(), getpid(), 77, SI_QUEUE, 0));
	on(SIGUSR1, note, 0);
	show(tqueue(getpid(), getpid(), SIGUSR1, SI_QUEUE, 41)); show(queue(SIGUSR1, -7, 42)); said();
	struct sigaction sa = { .sa_handler = SIG_IGN };
	show(sigaction(SIGKILL, &sa, NULL)); show(sigaction(SIGSTOP, &sa, NULL)); show(sigaction(SIGKILL, NULL, &sa));
	show(sigaction(0, &sa, NULL)); show(sigaction(65, &sa, NULL)); show(sigaction(-1, NULL, &sa));
	show(syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 4)); show(syscall(SYS_rt_sigaction, SIGUSR1, 8, NULL, 8));
	show(syscall(SYS_rt_sigprocmask, 9, &(sigset_t){}, NULL, 8)); show(syscall(SYS_rt_sigprocmask, 9, NULL, NULL, 8));
	show(syscall(SYS_rt_sigprocmask, 0, NULL, NULL, 7)); show(syscall(SYS_rt_sigpending, &(sigset_t){}, 9));
	show(syscall(SYS_rt_sigsuspend, NULL, 8)); show(syscall(SYS_rt_sigsuspend, NULL, 9)); show(syscall(SYS_restart_syscall));
	show(syscall(SYS_rt_sigtimedwait, &(sigset_t){}, NULL, &(struct timespec){ 0, 0 }, 8));
	show(syscall(SYS_rt_sigtimedwait, &(sigset_t){}, NULL, &(struct timespec){ 0, -1 }, 8));
	show(syscall(SYS_rt_sigtimedwait, 8, NULL, NULL, 8)); show(syscall(SYS_rt_sigtimedwait, NULL, NULL, NULL, 4));
}

static int depth, deepest;

static void nest(int sig, siginfo_t *si, void *uc)
{
	depth++;
	deepest = depth > deepest ? depth : deepest;
	if (n++ < 3)
		raise(sig);
	depth--;
}

static void flags(void)
{
	section("flags");
	deepest = n = 0;
	on(SIGUSR1, nest, 0); raise(SIGUSR1); printf("deferred: depth %d, %d\n", deepest, n);
	deepest = n = 0;
	on(SIGUSR1, nest, SA_NODEFER); raise(SIGUSR1); printf("SA_NODEFER: depth %d, %d\n", deepest, n);
	n = 0;
	on(SIGUSR1, note, SA_RESETHAND); raise(SIGUSR1);
	struct sigaction sa;
	sigaction(SIGUSR1, NULL, &sa);
	printf("SA_RESETHAND: default %d, flags %#x\n", sa.sa_handler == SIG_DFL, sa.sa_flags & ~0x04000000);
	sa.sa_handler = SIG_IGN;
	sa.sa_flags = ~0;
	sigaction(SIGUSR1, &sa, NULL);
	sigaction(SIGUSR1, NULL, &sa);
	printf("all flags: %#x\n", sa.sa_flags);
	n = 0;
	on(SIGUSR1, note, 0); block(SIG_BLOCK, SIGUSR1); raise(SIGUSR1);
	signal(SIGUSR1, SIG_IGN); on(SIGUSR1, note, 0); block(SIG_UNBLOCK, SIGUSR1);
	printf("ignored meanwhile: %d\n", n);
	sigset_t s;
	sigfillset(&s);
	sa = (struct sigaction){ .sa_sigaction = note, .sa_mask = s, .sa_flags = SA_SIGINFO };
	sigaction(SIGUSR1, &sa, NULL); sigaction(SIGUSR1, NULL, &sa);
	printf("mask: KILL %d STOP %d TERM %d\n", sigismember(&sa.sa_mask, SIGKILL), sigismember(&sa.sa_mask, SIGSTOP), sigismember(&sa.sa_mask, SIGTERM));
}

static char alt[65536] __attribute__((aligned(16)));
static stack_t seen;
static int armed;

static void onAlt(int sig, siginfo_t *si, void *uc)
{
	char here;
	stack_t ss;
	sigaltstack(NULL, &ss);
	seen = ((ucontext_t *)uc)->uc_stack;
	armed = &here > alt && &here < alt + sizeof alt;
	printf("  on it %d, flags now %#x, size %zu, frame's flags %#x, size %zu\n", armed, ss.ss_flags, ss.ss_size, seen.ss_flags, seen.ss_size);
	stack_t other = { .ss_sp = alt, .ss_size = sizeof alt / 2 };
	show(sigaltstack(&other, NULL));
}

static void stacks(void)
{
	section("alternate stacks");
	stack_t ss = { .ss_sp = alt, .ss_size = sizeof alt }, old;
	show(sigaltstack(NULL, &old)); printf("flags %#x\n", old.ss_flags);
	show(sigaltstack(&(stack_t){ .ss_sp = alt, .ss_size = 1000 }, NULL));
	show(sigaltstack(&(stack_t){ .ss_sp = alt, .ss_size = 9000, .ss_flags = 16 }, NULL));
	show(sigaltstack((stack_t *)8, NULL));
	show(sigaltstack(&ss, NULL)); show(sigaltstack(NULL, &old)); printf("flags %#x size %zu\n", old.ss_flags, old.ss_size);
	on(SIGUSR1, onAlt, 0); raise(SIGUSR1);
	on(SIGUSR1, onAlt, SA_ONSTACK); raise(SIGUSR1);
	ss.ss_flags = AUTODISARM;
	show(sigaltstack(&ss, NULL)); raise(SIGUSR1);
	show(sigaltstack(NULL, &old)); printf("flags %#x size %zu\n", old.ss_flags, old.ss_size);
	ss.ss_flags = SS_DISABLE;
	show(sigaltstack(&ss, NULL)); show(sigaltstack(NULL, &old)); printf("flags %#x size %zu\n", old.ss_flags, old.ss_size);
}

/* A child that waits for the parent's word before it ends. */
static int word[2];

static void hear(void) { char c; while (read(word[0], &c, 1) != 1); }
static void tell(void) { write(word[1], "x", 1); }

/* interrupt sends a signal to who waits, and returns when note has seen it: so
 * whoever waits sees the signal, and not what follows. */
static void interrupt(pid_t pid, int sig)
{
	int before = *handled;
	until_asleep(pid, pid);
	kill(pid, sig);
	while (*handled == before)
		msleep(1);
}

static void later(int sig)
{
	pid_t to = getpid();
	if (!fork()) {
		interrupt(to, sig);
		_exit(0);
	}
}

/* The same for a signal that no handler takes. */
static void later_blocked(int sig)
{
	pid_t to = getpid();
	if (!fork()) {
		until_asleep(to, to);
		kill(to, sig);
		_exit(0);
	}
}

static void restarts(void)
{
	section("restarts");
	int fd[2];
	char c;
	for (int restart = 0; restart < 2; restart++) {
		n = 0;
		on(SIGUSR1, note, restart ? SA_RESTART : 0);
		printf("SA_RESTART %d\n", restart);
		must(pipe(fd));
		if (!fork()) {
			interrupt(getppid(), SIGUSR1); write(fd[1], "x", 1);
			_exit(0);
		}
		show(read(fd[0], &c, 1));
		while (wait(NULL) > 0 || errno == EINTR);
		struct timespec ts = { 2, 0 }, rem = { 9, 9 };
		later(SIGUSR1); show(nanosleep(&ts, &rem)); printf("rest %d\n", rem.tv_sec < 2 && rem.tv_nsec > 0);
		while (wait(NULL) > 0 || errno == EINTR);
		later(SIGUSR1); show(poll(NULL, 0, 2000)); while (wait(NULL) > 0 || errno == EINTR);
		later(SIGUSR1); show(pause()); while (wait(NULL) > 0 || errno == EINTR);
		int word = 0;
		later(SIGUSR1); show(syscall(SYS_futex, &word, 0, 0, &ts)); while (wait(NULL) > 0 || errno == EINTR);
		if (!restart) {
			later(SIGUSR1); show(syscall(SYS_futex, &word, 0, 0, NULL)); while (wait(NULL) > 0 || errno == EINTR);
		}
		if (!fork()) { hear(); _exit(3); }
		later(SIGUSR1); pid_t p; int st; p = wait(&st);
		show(p == -1); tell(); while (wait(NULL) > 0 || errno == EINTR);
		close(fd[0]); close(fd[1]);
		printf("%d handled\n", n);
	}
	// Stopped and continued, a sleep goes on for what is left.
	signal(SIGUSR1, SIG_DFL);
	pid_t child = fork();
	if (!child) {
		struct timespec a, b, ts = { 0, 100000000 };
		clock_gettime(CLOCK_MONOTONIC, &a);
		int e = nanosleep(&ts, NULL);
		int f = poll(NULL, 0, 50);
		clock_gettime(CLOCK_MONOTONIC, &b);
		long ms = (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000;
		hear(); // the parent has said what it saw
		printf("slept %d %d, enough %d\n", e, f, ms >= 149);
		_exit(0);
	}
	int st;
	until_asleep(child, child); kill(child, SIGSTOP); waitpid(child, &st, WUNTRACED); printf("stopped %#x\n", st);
	kill(child, SIGCONT); waitpid(child, &st, WCONTINUED); printf("continued %#x\n", st); tell();
	waitpid(child, &st, 0); printf("ended %#x\n", st);
}

static void waiting(void)
{
	section("sigtimedwait and sigsuspend");
	sigset_t s, none;
	siginfo_t si;
	sigemptyset(&none);
	sigemptyset(&s); sigaddset(&s, SIGUSR1); sigaddset(&s, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &s, NULL);
	on(SIGUSR1, note, 0);
	struct timespec ts = { 0, 30000000 };
	show(sigtimedwait(&s, &si, &ts));
	raise(SIGUSR1); sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 7 });
	int sig;
	show(sigtimedwait(&s, &si, &ts)); printf("%d %d\n", si.si_signo, si.si_code);
	show(sigwaitinfo(&s, &si) == SIGRTMIN); printf("%d %d\n", si.si_code, si.si_value.sival_int);
	later_blocked(SIGUSR1); show(sigwait(&s, &sig)); printf("%d\n", sig); wait(NULL);
	n = 0; on(SIGUSR2, note, SA_RESTART);
	later(SIGUSR2); show(sigtimedwait(&s, &si, NULL)); wait(NULL);
	later(SIGUSR1); show(sigsuspend(&none)); wait(NULL); said();
	raise(SIGUSR1); show(sigsuspend(&none)); said();
	sigprocmask(SIG_SETMASK, NULL, &none); printf("blocked again %d\n", sigismember(&none, SIGUSR1));
	raise(SIGUSR1); sigemptyset(&none); show(ppoll(NULL, 0, &ts, &none)); said();
	sigprocmask(SIG_UNBLOCK, &s, NULL);
}

static void descriptor(void)
{
	section("signalfd");
	sigset_t s;
	sigemptyset(&s); sigaddset(&s, SIGUSR1); sigaddset(&s, SIGRTMIN); sigaddset(&s, SIGCHLD);
	sigprocmask(SIG_BLOCK, &s, NULL);
	show(signalfd(0, &s, 0)); show(signalfd(99, &s, 0)); show(signalfd(-1, &s, 1)); show(syscall(SYS_signalfd4, -1, &s, 4, 0));
	int fd = show(signalfd(-1, &s, SFD_NONBLOCK | SFD_CLOEXEC));
	printf("%#x %#x\n", fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
	struct signalfd_siginfo si[4];
	struct pollfd p = { fd, POLLIN, 0 };
	show(read(fd, si, 127)); show(read(fd, si, 128)); show(write(fd, si, 128)); show(poll(&p, 1, 0));
	raise(SIGUSR1); sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 7 });
	show(poll(&p, 1, 0)); printf("%#x\n", p.revents);
	int got = show(read(fd, si, sizeof si));
	for (int i = 0; i < got / 128; i++)
		printf("%u code %d self %d uid %u int %d ptr %lu\n", si[i].ssi_signo, si[i].ssi_code, si[i].ssi_pid == getpid(), si[i].ssi_uid, si[i].ssi_int, (long)si[i].ssi_ptr & 0xffffffff);
	pid_t child = fork();
	if (!child) { msleep(20); _exit(9); }
	fcntl(fd, F_SETFL, 0);
	show(read(fd, si, sizeof si)); printf("%u code %d child %d status %d\n", si[0].ssi_signo, si[0].ssi_code, si[0].ssi_pid == child, si[0].ssi_status);
	wait(NULL);
	later_blocked(SIGUSR1); p.revents = 0; show(poll(&p, 1, -1)); show(read(fd, si, 128)); wait(NULL);
	sigemptyset(&s); show(signalfd(fd, &s, 0) == fd); show(fcntl(fd, F_SETFL, O_NONBLOCK)); show(read(fd, si, 128));
	close(fd);
	struct timespec zero = { 0, 0 };
	sigfillset(&s); sigtimedwait(&s, NULL, &zero); sigprocmask(SIG_UNBLOCK, &s, NULL);
}

static void *takes(void *arg)
{
	sigset_t s;
	sigemptyset(&s); sigaddset(&s, SIGUSR1);
	pthread_sigmask(arg ? SIG_UNBLOCK : SIG_BLOCK, &s, NULL);
	for (int i = 0; i < 12000 && n < 1; i++)
		msleep(5);
	return NULL;
}

static void threads(void)
{
	section("a thread that has a signal unblocked takes it");
	n = 0; on(SIGUSR1, note, 0); block(SIG_BLOCK, SIGUSR1);
	pthread_t a, b;
	pthread_create(&a, NULL, takes, NULL); pthread_create(&b, NULL, takes, (void *)&n);
	msleep(20);
	kill(getpid(), SIGUSR1);
	pthread_join(a, NULL); pthread_join(b, NULL);
	said();
	block(SIG_UNBLOCK, SIGUSR1);
}

static void ends(void)
{
	section("ends");
	int sigs[] = { SIGSEGV, SIGQUIT, SIGTERM, SIGRTMIN + 5, SIGXCPU, SIGCHLD, SIGURG, SIGWINCH, SIGIO, SIGSTKFLT, SIGPWR };
	for (int i = 0; i < 11; i++) {
		int st;
		pid_t p = fork();
		if (!p) { raise(sigs[i]); _exit(1); }
		siginfo_t si;
		waitid(P_PID, p, &si, WEXITED | WNOWAIT);
		waitpid(p, &st, 0);
		printf("signal %d: status %#x, code %d, %d\n", sigs[i], st, si.si_code, si.si_status);
	}
	struct sigaction sa = { .sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT };
	sigaction(SIGCHLD, &sa, NULL);
	if (!fork()) _exit(0);
	show(wait(NULL));
	signal(SIGCHLD, SIG_IGN);
	if (!fork()) _exit(0);
	show(wait(NULL));
	n = 0;
	on(SIGCHLD, note, SA_NOCLDSTOP);
	pid_t p = fork();
	if (!p) { raise(SIGSTOP); hear(); _exit(7); }
	int st;
	waitpid(p, &st, WUNTRACED); printf("%#x, %d told\n", st, n);
	kill(p, SIGCONT); waitpid(p, &st, WCONTINUED); printf("%#x\n", st); tell(); while (waitpid(p, &st, 0) != p); printf("%#x, %d told\n", st, n);
	on(SIGCHLD, note, 0); n = 0;
	p = fork();
	if (!p) { setpgid(0, 0); raise(SIGSTOP); raise(SIGTSTP); _exit(7); }
	while (waitpid(p, &st, WUNTRACED) != p); printf("%#x\n", st); while (n < 1) msleep(1); printf("code %d status %d\n", infos[0][1], WSTOPSIG(st)); n = 0;
	kill(p, SIGCONT); while (waitpid(p, &st, WUNTRACED) != p || WIFCONTINUED(st)); printf("%#x\n", st);
	kill(p, SIGKILL); while (waitpid(p, &st, 0) != p); printf("%#x\n", st);
	signal(SIGCHLD, SIG_DFL);
}

int main(void)
{
	must(pipe(word));
	handled = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	order(); errors(); flags(); stacks(); restarts(); waiting(); descriptor(); threads(); ends();
	return 0;
}
