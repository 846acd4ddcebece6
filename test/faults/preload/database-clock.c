/*
 * Loaded into PostgreSQL before anything else (LD_PRELOAD): its wall clock is off by as many microseconds as stand in a
 * file, a 64-bit number, which every process of the server has mapped. The monotonic clock goes on as ever.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *shared;
static int (*real_gettimeofday)(struct timeval *, void *);
static int (*real_clock_gettime)(clockid_t, struct timespec *);
static time_t (*real_time)(time_t *);

__attribute__((constructor)) static void begin(void) {
  real_gettimeofday = dlsym(RTLD_NEXT, "gettimeofday");
  real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
  real_time = dlsym(RTLD_NEXT, "time");
  const char *path = getenv("FAULTS_CLOCK_FILE");
  int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (fd < 0) return;
  void *at = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
  if (at != MAP_FAILED) shared = at;
}

static int64_t offset(void) { return shared ? *shared : 0; }

int gettimeofday(struct timeval *tv, void *tz) {
  int result = real_gettimeofday(tv, tz);
  if (result == 0 && tv) {
    int64_t micros = (int64_t)tv->tv_sec * 1000000 + tv->tv_usec + offset();
    tv->tv_sec = micros / 1000000;
    tv->tv_usec = micros % 1000000;
  }
  return result;
}

int clock_gettime(clockid_t id, struct timespec *ts) {
  int result = real_clock_gettime(id, ts);
  if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
    int64_t nanos = (int64_t)ts->tv_sec * 1000000000 + ts->tv_nsec + offset() * 1000;
    ts->tv_sec = nanos / 1000000000;
    ts->tv_nsec = nanos % 1000000000;
  }
  return result;
}

time_t time(time_t *t) {
  time_t now = real_time(NULL) + offset() / 1000000;
  if (t) *t = now;
  return now;
}
