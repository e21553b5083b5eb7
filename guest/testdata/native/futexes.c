#include "show.h"
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>

static int words[4];
static int *shared;

static long fx(int *w, int op, int v, void *arg4, int *w2, int v3) { return syscall(SYS_futex, w, op, v, arg4, w2, v3); }

struct sleeper { pthread_t t; int *word, op, bits; volatile int tid; };

static void *sleeps(void *p)
{
	struct sleeper *s = p;
	s->tid = syscall(SYS_gettid);
	fx(s->word, s->op, *s->word, NULL, NULL, s->bits);
	return NULL;
}

/* n sleepers on a word, asleep. */
static void start(struct sleeper *s, int n, int *word, int op, int bits)
{
	for (int i = 0; i < n; i++) {
		s[i] = (struct sleeper){ .word = word, .op = op, .bits = bits };
		pthread_create(&s[i].t, NULL, sleeps, &s[i]);
	}
	for (int i = 0; i < n; i++)
		while (!asleep(getpid(), s[i].tid)) /* 0 until it has begun */
			msleep(1);
}

static void finish(struct sleeper *s, int n)
{
	for (int i = 0; i < n; i++)
		pthread_join(s[i].t, NULL);
}

#define OP(op, arg, cmp, cmparg) FUTEX_OP(op, arg, cmp, cmparg)

int main(void)
{
	struct sleeper s[8];
	struct timespec ts = { 0, 10000000 }, bad = { 0, -1 }, past = { 1, 0 };
	int *a = &words[0], *b = &words[1];
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	section("errors");
	show(fx(a, FUTEX_WAIT, 1, NULL, NULL, 0)); show(fx(a, FUTEX_WAIT, 0, &bad, NULL, 0)); show(fx((int *)((char *)a + 1), FUTEX_WAIT, 0, &ts, NULL, 0));
	show(fx((int *)8, FUTEX_WAIT, 0, &ts, NULL, 0)); show(fx((int *)8, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0)); show(fx((int *)8, FUTEX_WAKE, 1, NULL, NULL, 0));
	show(fx(a, FUTEX_WAIT_BITSET, 0, NULL, NULL, 0)); show(fx(a, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0)); show(fx(a, FUTEX_WAIT, 0, (void *)8, NULL, 0));
	show(fx(a, 77, 0, NULL, NULL, 0)); show(fx(a, FUTEX_FD, 0, NULL, NULL, 0)); show(fx(a, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 0, NULL, NULL, 0)); show(fx(a, FUTEX_WAIT | FUTEX_CLOCK_REALTIME, 0, &ts, NULL, 0));
	show(fx(a, FUTEX_REQUEUE, -1, NULL, b, 0)); show(fx(a, FUTEX_REQUEUE, 1, (void *)-1L, b, 0)); show(fx(a, FUTEX_CMP_REQUEUE, 1, NULL, b, 5));
	show(fx(a, FUTEX_REQUEUE, 1, NULL, (int *)8, 0)); show(fx(a, FUTEX_WAKE_OP, 1, NULL, (int *)8, 0));

	section("timeouts");
	show(fx(a, FUTEX_WAIT, 0, &ts, NULL, 0)); show(fx(a, FUTEX_WAIT_BITSET, 0, &past, NULL, -1)); show(fx(a, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &past, NULL, -1));
	clock_gettime(CLOCK_REALTIME, &ts); ts.tv_nsec += 10000000; if (ts.tv_nsec > 999999999) ts.tv_sec++, ts.tv_nsec -= 1000000000;
	show(fx(a, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &ts, NULL, -1));

	section("wake");
	show(fx(a, FUTEX_WAKE, 1, NULL, NULL, 0));
	start(s, 4, a, FUTEX_WAIT, 0);
	show(fx(a, FUTEX_WAKE, 0, NULL, NULL, 0)); show(fx(a, FUTEX_WAKE, -1, NULL, NULL, 0)); show(fx(a, FUTEX_WAKE, 9, NULL, NULL, 0)); finish(s, 4);
	start(s, 3, a, FUTEX_WAIT_BITSET, 2);
	show(fx(a, FUTEX_WAKE_BITSET, 9, NULL, NULL, 5)); show(fx(a, FUTEX_WAKE_BITSET, 2, NULL, NULL, 3)); show(fx(a, FUTEX_WAKE, 9, NULL, NULL, 0)); finish(s, 3);
	start(s, 2, shared, FUTEX_WAIT, 0);
	show(fx(shared, FUTEX_WAKE_PRIVATE, 9, NULL, NULL, 0));
	fflush(stdout);
	if (!fork()) { show(fx(shared, FUTEX_WAKE, 9, NULL, NULL, 0)); show(fx(a, FUTEX_WAKE, 9, NULL, NULL, 0)); exit(0); }
	wait(NULL); finish(s, 2);

	section("requeue");
	start(s, 5, a, FUTEX_WAIT, 0);
	show(fx(a, FUTEX_CMP_REQUEUE, 1, (void *)2, b, 0)); show(fx(b, FUTEX_WAKE, 9, NULL, NULL, 0)); show(fx(a, FUTEX_REQUEUE, 0, (void *)1, b, 0)); show(fx(b, FUTEX_WAKE, 9, NULL, NULL, 0));
	show(fx(a, FUTEX_REQUEUE, 1, (void *)9, a, 0)); finish(s, 5);
	start(s, 2, a, FUTEX_WAIT, 0); show(fx(a, FUTEX_REQUEUE, 0, (void *)9, shared, 0)); show(fx(shared, FUTEX_WAKE, 9, NULL, NULL, 0)); finish(s, 2);

	section("wake op");
	int ops[] = { FUTEX_OP_SET, FUTEX_OP_ADD, FUTEX_OP_OR, FUTEX_OP_ANDN, FUTEX_OP_XOR };
	for (int op = 0; op < 5; op++)
		for (int cmp = 0; cmp < 6; cmp++) {
			words[0] = 0, words[1] = 12;
			start(s, 0, a, FUTEX_WAIT, 0);
			long got = fx(a, FUTEX_WAKE_OP, 9, (void *)9, b, OP(ops[op], 5, cmp, 12));
			printf("op %d cmp %d: %ld, word %d\n", op, cmp, got, words[1]);
		}
	words[0] = words[1] = 0;
	start(s, 2, a, FUTEX_WAIT, 0); start(s + 2, 2, b, FUTEX_WAIT, 0);
	show(fx(a, FUTEX_WAKE_OP, 9, (void *)9, b, OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 7))); show(fx(b, FUTEX_WAKE, 1, NULL, NULL, 0));
	show(fx(a, FUTEX_WAKE_OP, 9, (void *)9, b, OP((FUTEX_OP_ADD | FUTEX_OP_OPARG_SHIFT), 3, FUTEX_OP_CMP_EQ, 1))); printf("%d\n", *b); finish(s, 4);
	show(fx(a, FUTEX_WAKE_OP, 9, (void *)9, b, OP(FUTEX_OP_ADD, -1, FUTEX_OP_CMP_GT, -5))); printf("%d\n", *b);
	show(fx(a, FUTEX_WAKE_OP, 9, (void *)9, b, OP(6, 1, 0, 0))); show(fx(a, FUTEX_WAKE_OP, 9, (void *)9, b, OP(0, 1, 9, 0)));

	section("robust lists");
	void *head; size_t size;
	show(syscall(SYS_set_robust_list, 0, 23)); show(syscall(SYS_get_robust_list, 0, &head, &size)); printf("%zu %d\n", size, head != NULL);
	show(syscall(SYS_get_robust_list, nobody, &head, &size)); show(syscall(SYS_get_robust_list, 0, 8, &size));

	section("scheduling");
	struct sched_param sp = { 0 };
	cpu_set_t set;
	show(sched_getscheduler(0)); show(sched_getscheduler(-1)); show(sched_getscheduler(nobody)); show(sched_setscheduler(0, SCHED_BATCH, &sp)); show(sched_getscheduler(0));
	sp.sched_priority = 5;
	show(sched_setscheduler(0, SCHED_OTHER, &sp)); show(sched_setscheduler(0, 77, &sp)); show(sched_setscheduler(0, SCHED_RR, NULL)); show(sched_setparam(0, &sp));
	sp.sched_priority = 0; show(sched_setscheduler(0, SCHED_RR, &sp)); show(sched_setscheduler(0, SCHED_OTHER, &sp)); show(sched_getparam(0, &sp)); show(sched_getparam(0, NULL));
	for (int p = -1; p < 7; p++) printf("%d: %d %d\n", p, sched_get_priority_min(p), sched_get_priority_max(p));
	show(sched_setaffinity(0, 8, (void *)8)); memset(&set, 0, sizeof set); show(sched_setaffinity(0, sizeof set, &set)); show(syscall(SYS_sched_getaffinity, 0, 7, &set)); show(syscall(SYS_sched_getaffinity, 0, 8, &set)); show(CPU_ISSET(0, &set) || CPU_COUNT(&set));
	show(getpriority(PRIO_PROCESS, 0)); show(setpriority(PRIO_PROCESS, 0, 5)); show(getpriority(PRIO_PROCESS, 0)); show(setpriority(PRIO_PROCESS, 0, 99)); show(getpriority(PRIO_PROCESS, 0)); show(getpriority(9, 0)); show(getpriority(PRIO_PROCESS, nobody)); show(nice(0));

	section("threads and processes");
	show(syscall(SYS_clone, CLONE_THREAD, 0, 0, 0, 0)); show(syscall(SYS_clone, CLONE_SIGHAND, 0, 0, 0, 0)); show(syscall(SYS_clone, CLONE_THREAD | CLONE_SIGHAND, 0, 0, 0, 0));
	char args[100] = { 0 };
	show(syscall(SYS_clone3, args, 63)); show(syscall(SYS_clone3, args, 5000)); show(syscall(SYS_clone3, 8, 64)); args[95] = 1; show(syscall(SYS_clone3, args, 100)); args[95] = 0; args[0] = 17; show(syscall(SYS_clone3, args, 64));
	args[0] = 0; ((long *)args)[4] = 300; show(syscall(SYS_clone3, args, 64)); ((long *)args)[4] = 65; show(syscall(SYS_clone3, args, 64)); ((long *)args)[4] = SIGCHLD; ((long *)args)[5] = 4096; show(syscall(SYS_clone3, args, 64)); ((long *)args)[5] = 0;
	long pid = syscall(SYS_clone3, args, 64);
	if (!pid) _exit(4);
	int st; show(waitpid(pid, &st, 0) == pid); printf("%#x\n", st);
	((long *)args)[4] = 0; pid = syscall(SYS_clone3, args, 64); if (!pid) _exit(5);
	show(waitpid(pid, &st, 0)); show(waitpid(pid, &st, __WCLONE) == pid); printf("%#x\n", st);
	pid = syscall(SYS_clone3, args, 64); if (!pid) _exit(6);
	show(waitpid(pid, &st, __WALL) == pid); printf("%#x\n", st); show(waitpid(-1, &st, __WALL)); show(waitpid(-1, &st, 0x100));
	show(syscall(SYS_membarrier, 99, 0, 0)); show(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0)); show(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0)); show(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0)); show(syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0)); show(syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 1, 0));
	return 0;
}
