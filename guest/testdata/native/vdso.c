/* The time, by whatever way: it goes forward and is the same everywhere. With an
 * argument it then asks for it 4000 times more. */
#include "show.h"
#include <sys/auxv.h>
#include <sys/time.h>

static long ns(struct timespec t) { return t.tv_sec * 1000000000L + t.tv_nsec; }

static long lib(int id) { struct timespec t; clock_gettime(id, &t); return ns(t); }
static long call(int id) { struct timespec t; syscall(SYS_clock_gettime, id, &t); return ns(t); }

int main(int argc, char **argv)
{
	int ids[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME };
	long back = 0, far = 0, last;
	msleep(60); /* until the time is there */
	for (int i = 0; i < 4; i++) {
		last = 0;
		for (int j = 0; j < 3000; j++) {
			long a = lib(ids[i]), b = call(ids[i]), c = lib(ids[i]);
			back += (i != 2) && (a < last || b < a || c < b); /* the raw clock is a clock of its own */
			far += c - a > 500000000;
			last = c;
			if (j % 1000 == 0)
				msleep(30);
		}
	}
	printf("went back %ld, far apart %ld\n", back, far > 3);
	struct timeval tv;
	struct timezone tz = { 5, 5 };
	struct timespec ts;
	long t1 = time(NULL);
	gettimeofday(&tv, &tz);
	msleep(20); /* time may be behind the other by a tick of the host */
	time_t t2, t3 = time(&t2);
	printf("seconds agree %d, zone %d %d\n", t1 <= tv.tv_sec && tv.tv_sec <= t3 && t2 == t3, tz.tz_minuteswest, tz.tz_dsttime);
	long wall = lib(CLOCK_REALTIME);
	printf("microseconds agree %d\n", labs(wall / 1000 - (tv.tv_sec * 1000000L + tv.tv_usec)) < 2000000);
	show(gettimeofday(NULL, NULL)); show(gettimeofday(NULL, &tz));
	for (int id = -1; id < 14; id++)
		if (id < 8 || id > 9) { /* no alarm clocks */
			errno = 0;
			int r = clock_gettime(id, &ts);
			printf("clock %d: %d %d\n", id, r, errno);
		}
	show(clock_getres(CLOCK_MONOTONIC, &ts)); printf("%ld\n", ns(ts)); show(clock_getres(CLOCK_MONOTONIC, NULL)); show(clock_getres(77, &ts));
	struct timespec slept = { 0, 20000000 };
	long before = lib(CLOCK_MONOTONIC);
	nanosleep(&slept, NULL);
	printf("slept enough %d\n", lib(CLOCK_MONOTONIC) - before >= 20000000);
	if (argc > 1) {
		fprintf(stderr, "vdso %d, at %ld\n", getauxval(AT_SYSINFO_EHDR) != 0, wall);
		syscall(SYS_getuid);
		for (int i = 0; i < 1000; i++)
			lib(CLOCK_MONOTONIC), lib(CLOCK_REALTIME), gettimeofday(&tv, NULL), time(NULL);
	}
	return 0;
}
