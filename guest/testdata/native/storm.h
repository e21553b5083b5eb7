/* What the storms have in common. Each runs for the milliseconds of its first
 * argument and says how many operations that were; all other lines are the same
 * wherever it runs and however long. */
#include "show.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

enum { PATIENCE = 60 }; /* seconds for whoever has been told to end */

static int stuck;

/* ends waits for a thread to end. */
static void ends(pthread_t t, const char *what, int i)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += stuck ? 1 : PATIENCE;
	if (pthread_timedjoin_np(t, NULL, &until)) {
		printf("%s %d is stuck\n", what, i);
		stuck++;
	}
}

/* becomes waits until a condition holds. */
#define becomes(cond) ({ \
	int left_ = (stuck ? 1 : PATIENCE) * 1000; \
	while (!(cond) && left_--) \
		msleep(1); \
	if (!(cond)) \
		printf("never: %s\n", #cond), stuck++; \
	!!(cond); })

static pthread_t begin_thread(void *(*f)(void *), long arg)
{
	pthread_t t;
	must(-pthread_create(&t, NULL, f, (void *)arg));
	return t;
}
