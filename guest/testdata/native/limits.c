/* What exec takes and refuses, how far stacks grow, who dumps core, what
 * copies inside the kernel do, and mutexes of processes that were killed. */
#include "show.h"
#include <ftw.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

static char self[256];
static char *environment[] = { NULL };

static void make(const char *name, const char *text, int mode)
{
	int fd = must(open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600));
	must(write(fd, text, strlen(text)));
	must(fchmod(fd, mode));
	close(fd);
}

/* script makes one whose first line is a format with the program's own name. */
static void script(const char *name, const char *format)
{
	char text[1024];
	snprintf(text, sizeof text, format, self);
	make(name, text, 0700);
}

/* run executes in a child, which prints what it was given. */
static void run(const char *path, char **argv, char **envp)
{
	pid_t pid = must(fork());
	if (!pid) {
		execve(path, argv, envp);
		printf("%.40s: %s\n", path == (char *)8 ? "a bad path" : path == self ? "itself" : path, strerrorname_np(errno));
		_exit(0);
	}
	int st;
	must(waitpid(pid, &st, 0));
	if (st)
		printf("%.40s: status %#x\n", path, st);
}

static void run2(const char *path) { run(path, (char *[]){ "zero", "shown", "last", NULL }, environment); }

static void scripts(void)
{
	section("scripts");
	script("s1", "#!%s shown\nrest\n"); run2("./s1");
	script("s2", "#! \t%s \t shown two words \t \nrest"); run2("./s2");
	script("s3", "#!%s"); run2("./s3");
	make("n1", "#!./s1\n", 0700); run2("./n1");
	for (int i = 2; i < 8; i++) {
		char name[8], text[16];
		snprintf(name, sizeof name, "n%d", i);
		snprintf(text, sizeof text, "#!./n%d %d\n", i - 1, i);
		make(name, text, 0700);
		run2(name);
	}
	make("loop", "#!./loop\n", 0700); run2("./loop");
	make("none", "#!/nonexistent/x\n", 0700); run2("./none");
	make("dir", "#!/tmp\n", 0700); run2("./dir");
	make("noexec", "text", 0600); make("bad", "#!./noexec\n", 0700); run2("./bad"); run2("./noexec");
	make("empty", "", 0700); run2("./empty");
	make("blank", "#!   \n", 0700); run2("./blank");
	make("text", "echo hello\n", 0700); run2("./text");
	make("crlf", "#!./s1\r\n", 0700); run2("./crlf");
	make("elf", "\177ELF", 0700); run2("./elf");
	char line[400];
	snprintf(line, sizeof line, "#!%s shown ", self); for (int i = strlen(line); i < 300; i++) line[i] = 'a' + i % 26; line[300] = '\n'; line[301] = 0;
	make("long", line, 0700); run2("./long");
	memset(line, 'x', 300); line[0] = '#', line[1] = '!', line[2] = '/'; make("longname", line, 0700); run2("./longname");
	run2("/tmp"); run2(""); run2("./s1/x"); run2("./none/"); run(self, (char *[]){ NULL }, environment);
	run((char *)8, environment, environment); run(self, (char **)8, environment); run(self, environment, (char **)8); run(self, (char *[]){ (char *)8, NULL }, environment);
}

static char *block(long n)
{
	char *s = malloc(n + 1);
	memset(s, 'y', n);
	s[n] = 0;
	return s;
}

static void strings(const char *what, long each, int n)
{
	char **v = calloc(n + 3, sizeof *v), *s = block(each);
	v[0] = "zero", v[1] = "count";
	for (int i = 0; i < n; i++)
		v[2 + i] = s;
	printf("%s: ", what);
	fflush(stdout);
	run(self, v, environment);
	v[0] = v[1] = s;
	printf("as environment: ");
	fflush(stdout);
	run(self, (char *[]){ "zero", "count", NULL }, v);
	free(s), free(v);
}

static void arguments(void)
{
	section("argument limits");
	struct rlimit r = { 8 << 20, 8 << 20 };
	getrlimit(RLIMIT_STACK, &r); r.rlim_cur = 8 << 20; must(setrlimit(RLIMIT_STACK, &r));
	strings("longest", 131071, 1); strings("too long", 131072, 1);
	strings("fifteen", 131000, 15); strings("seventeen", 131000, 17); strings("many short", 1, 150000); strings("too many", 1, 250000);
	r.rlim_cur = 1 << 20; must(setrlimit(RLIMIT_STACK, &r));
	strings("a quarter of 1M", 120000, 2); strings("more", 120000, 3);
	r.rlim_cur = 8 << 20; must(setrlimit(RLIMIT_STACK, &r));
}

static void ended(const char *what, void (*f)(long), long arg)
{
	pid_t pid = must(fork());
	if (!pid) {
		f(arg);
		_exit(0);
	}
	int st;
	must(waitpid(pid, &st, 0));
	printf("%s: %#x\n", what, st);
}

static void dive(long kb)
{
	volatile char here[1024];
	here[0] = here[1023] = kb;
	if (kb > 1)
		dive(kb - 1);
	here[1] = 1;
}

static void limited(long kb)
{
	struct rlimit r = { 1 << 20, 1 << 20 };
	must(setrlimit(RLIMIT_STACK, &r));
	dive(kb);
}

static void grow(long pages)
{
	char *m = mmap(NULL, 8 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(m, 7 << 20);
	char *s = mmap(m + (6 << 20), 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0);
	for (long i = 1; i <= pages; i++)
		s[-4096 * i] = 1;
}

static void beside(long touch)
{
	char *m = mmap(NULL, 4 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(m + 4096, (4 << 20) - 4096);
	/* 258 pages between the two: two may come */
	char *s = mmap(m + 4096 + 258 * 4096, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0);
	for (long i = 1; i <= touch; i++)
		s[-4096 * i] = 1;
}

static void stacks(void)
{
	section("stacks");
	ended("7 MiB", dive, 7000); ended("9 MiB", dive, 9000);
	ended("a limit of 1 MiB", limited, 700); ended("more than that", limited, 1200);
	ended("free below", grow, 50); ended("one page to go", beside, 1); ended("two pages", beside, 2); ended("the gap", beside, 3);
	show(mmap(NULL, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0) == MAP_FAILED);
}

static void dies(long sig) { raise(sig); }

static void secret(long sig)
{
	must(prctl(PR_SET_DUMPABLE, 0));
	raise(sig);
}

static void cores(void)
{
	section("core dumps");
	struct rlimit r;
	r.rlim_cur = r.rlim_max = RLIM_INFINITY; setrlimit(RLIMIT_CORE, &r); /* root may */
	getrlimit(RLIMIT_CORE, &r);
	printf("unlimited %d\n", r.rlim_max == RLIM_INFINITY);
	int sigs[] = { SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGXCPU, SIGXFSZ, SIGSYS, SIGTERM, SIGALRM, SIGKILL, SIGHUP };
	for (int i = 0; i < 14; i++)
		ended(strsignal(sigs[i]), dies, sigs[i]);
	ended("not dumpable", secret, SIGSEGV);
	show(prctl(PR_GET_DUMPABLE)); show(prctl(PR_SET_DUMPABLE, 2)); show(personality(0xffffffff)); show(personality(ADDR_NO_RANDOMIZE)); show(personality(0xffffffff)); show(personality(0));
}

static void copies(void)
{
	section("sendfile");
	make("in", "0123456789", 0600);
	int in = must(open("in", O_RDWR)), out = must(open("out", O_RDWR | O_CREAT | O_TRUNC, 0600)), app = must(open("app", O_RDWR | O_CREAT | O_APPEND, 0600)), ro = must(open("in", O_RDONLY)), d = must(open(".", O_RDONLY)), p[2], sk[2];
	must(pipe(p)); must(socketpair(AF_UNIX, SOCK_STREAM, 0, sk));
	char b[64]; off_t o = 3;
	show(sendfile(p[1], in, NULL, 4)); show(read(p[0], b, 64)); show(lseek(in, 0, SEEK_CUR)); show(sendfile(sk[0], in, &o, 3)); show(read(sk[1], b, 64)); printf("%ld\n", (long)o); show(lseek(in, 0, SEEK_CUR));
	show(sendfile(out, in, NULL, 100)); show(sendfile(out, in, NULL, 100)); show(lseek(out, 0, SEEK_CUR)); o = 20; show(sendfile(out, in, &o, 1)); o = -1; show(sendfile(out, in, &o, 1)); show(sendfile(out, in, (off_t *)8, 1));
	show(sendfile(app, in, NULL, 1)); show(sendfile(ro, in, NULL, 1)); show(sendfile(out, p[0], NULL, 1)); show(sendfile(out, d, NULL, 1)); show(sendfile(99, in, NULL, 1)); show(sendfile(out, 99, NULL, 1)); show(sendfile(out, in, NULL, 0)); show(sendfile(p[0], in, NULL, 1)); show(sendfile(out, p[1], NULL, 1));
	section("copy_file_range");
	loff_t a = 2, z = 30;
	lseek(in, 0, SEEK_SET); ftruncate(out, 0); lseek(out, 0, SEEK_SET);
	show(copy_file_range(in, NULL, out, NULL, 5, 0)); show(copy_file_range(in, &a, out, &z, 100, 0)); printf("%ld %ld\n", (long)a, (long)z); show(lseek(out, 0, SEEK_END)); show(lseek(in, 0, SEEK_CUR));
	show(copy_file_range(in, &a, out, &z, 10, 0)); show(copy_file_range(in, NULL, out, NULL, 1, 1)); show(copy_file_range(in, NULL, app, NULL, 1, 0)); show(copy_file_range(in, NULL, ro, NULL, 1, 0)); show(copy_file_range(p[0], NULL, out, NULL, 1, 0)); show(copy_file_range(in, NULL, p[1], NULL, 1, 0)); show(copy_file_range(d, NULL, out, NULL, 1, 0)); show(copy_file_range(in, NULL, 99, NULL, 1, 0));
	a = 0, z = 5; show(copy_file_range(in, &a, in, &z, 5, 0)); a = 0, z = 4; show(copy_file_range(in, &a, in, &z, 5, 0)); a = -1; show(copy_file_range(in, &a, out, NULL, 5, 0)); show(copy_file_range(in, (void *)8, out, NULL, 5, 0)); a = 0; show(copy_file_range(in, &a, out, NULL, 0, 0));
	show(pread(in, b, 64, 0)); printf("%.20s\n", b);
}

static void robust(void)
{
	section("robust mutexes between processes");
	pthread_mutex_t *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t at;
	pthread_mutexattr_init(&at); pthread_mutexattr_setrobust(&at, PTHREAD_MUTEX_ROBUST); pthread_mutexattr_setpshared(&at, PTHREAD_PROCESS_SHARED);
	for (int i = 0; i < 3; i++)
		pthread_mutex_init(&m[i], &at);
	for (int how = 0; how < 3; how++) {
		int ready[2];
		char c;
		must(pipe(ready));
		pid_t pid = must(fork());
		if (!pid) {
			for (int i = 0; i < 3; i++)
				pthread_mutex_lock(&m[i]);
			write(ready[1], "x", 1);
			msleep(50); /* somebody waits by now */
			if (how == 0) _exit(0);
			if (how == 1) kill(getpid(), SIGKILL);
			execl(self, "zero", NULL);
		}
		must(read(ready[0], &c, 1));
		int e[3];
		for (int i = 0; i < 3; i++) {
			e[i] = pthread_mutex_lock(&m[i]);
			if (e[i] == EOWNERDEAD) pthread_mutex_consistent(&m[i]);
			pthread_mutex_unlock(&m[i]);
		}
		waitpid(pid, NULL, 0);
		for (int i = 0; i < 3; i++) /* what has been executed says something, too: that comes first */
			printf("%d: %s\n", how, e[i] ? strerrorname_np(e[i]) : "locked");
		close(ready[0]); close(ready[1]);
	}
}

static int removes(const char *path, const struct stat *st, int type, struct FTW *ftw) { return remove(path); }

int main(int argc, char **argv)
{
	/* Whoever starts the tests may ignore some, and that would be handed down. */
	for (int sig = 1; sig <= SIGRTMAX; sig++)
		signal(sig, SIG_DFL);
	if (argc == 1 && !*argv[0])
		return printf("an empty argv[0]\n"), 0;
	if (argc > 1 && !strcmp(argv[1], "count")) {
		int n = 0;
		while (environ[n]) n++;
		return printf("%d and %d\n", argc, n), 0;
	}
	int shown = 0;
	for (int i = 1; i < argc; i++)
		shown |= !strncmp(argv[i], "shown", 5) || strstr(argv[i], "./");
	if (shown || !strcmp(argv[0], "zero")) {
		for (int i = 0; i < argc; i++)
			printf("[%s]", strrchr(argv[i], '/') ? strrchr(argv[i], '/') + 1 : argv[i]);
		return printf("\n"), 0;
	}
	must(readlink("/proc/self/exe", self, sizeof self - 1));
	char dir[] = "/tmp/limits-XXXXXX", name[64];
	must(mkdtemp(dir) ? 0 : -1); must(chdir(dir));
	char link[] = "/tmp/lim-XXXXXX"; /* a short name that is as long everywhere */
	must(mkdtemp(link) ? 0 : -1); strcat(strcpy(name, link), "/p"); must(symlink(self, name)); strcpy(self, name);
	scripts(); arguments(); stacks(); cores(); copies(); robust();
	chdir("/");
	must(nftw(dir, removes, 9, FTW_DEPTH | FTW_PHYS)); must(nftw(link, removes, 9, FTW_DEPTH | FTW_PHYS));
	return 0;
}
