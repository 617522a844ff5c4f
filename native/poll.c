#include "poll.h"

#include <errno.h>
#include <poll.h>

#include "values.h"

#define NS_PER_MS 1000000LL

/* Rounded up: a wait that ends early would spin until the deadline. Fits an int: read_timeout() allows 24 hours. */
static int remaining_ms(int64_t deadline_ns) {
  const int64_t left_ns = deadline_ns - now_ns();
  return left_ns <= 0 ? 0 : (int)((left_ns + NS_PER_MS - 1) / NS_PER_MS);
}

enum readiness poll_readable(int fd, int64_t deadline_ns) {
  struct pollfd watched = {.fd = fd, .events = POLLIN};
  int count;
  do count = poll(&watched, 1, remaining_ms(deadline_ns));
  while (count < 0 && errno == EINTR);
  if (count < 0) return POLL_FAILED;
  if (count == 0) return TIMED_OUT;
  if ((watched.revents & POLLNVAL) == 0) return READY;
  errno = EBADF;
  return POLL_FAILED;
}
