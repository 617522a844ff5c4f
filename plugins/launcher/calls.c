#include "calls.h"

#include "system.h"
#include "text.h"

static struct timespec read_clock(long clock) {
  struct timespec now = {0};
  KERNEL(SYS_clock_gettime, clock, &now, 0, 0, 0, 0);
  return now;
}

int64_t monotonic_ns(void) {
  const struct timespec now = read_clock(CLOCK_MONOTONIC);
  return now.seconds * NS_PER_SECOND + now.nanoseconds;
}

int64_t realtime_ms(void) {
  const struct timespec now = read_clock(CLOCK_REALTIME);
  return now.seconds * 1000 + now.nanoseconds / 1000000;
}

/* Waits until `fd` is ready, or broken: the call that follows tells which. */
static enum ending wait_for(int fd, int16_t events, int64_t deadline_ns) {
  for (;;) {
    const int64_t left_ns = deadline_ns - monotonic_ns();
    if (left_ns <= 0) return TIMED_OUT;
    struct pollfd watched = {.fd = fd, .events = events};
    const struct timespec timeout = {left_ns / NS_PER_SECOND, left_ns % NS_PER_SECOND};
    const long count = KERNEL(SYS_ppoll, &watched, 1, &timeout, 0, 8, 0);
    if (count > 0) return ENDED;
    if (count < 0 && count != -EINTR) return FAILED;
  }
}

enum ending read_some(int fd, char *bytes, size_t capacity, int64_t deadline_ns, size_t *length) {
  for (;;) {
    const enum ending waited = wait_for(fd, POLLIN, deadline_ns);
    if (waited != ENDED) return waited;
    const long count = KERNEL(SYS_read, fd, bytes, capacity, 0, 0, 0);
    if (count == -EINTR || count == -EAGAIN) continue;
    if (count < 0) return FAILED;
    *length = (size_t)count;
    return ENDED;
  }
}

enum ending read_to_end(int fd, char *bytes, size_t capacity, int64_t deadline_ns, size_t *length) {
  *length = 0;
  for (;;) {
    size_t count;
    if (*length == capacity) return TOO_LONG;
    const enum ending ending = read_some(fd, bytes + *length, capacity - *length, deadline_ns, &count);
    if (ending != ENDED || count == 0) return ending;
    *length += count;
  }
}

enum ending write_all(int fd, const char *bytes, size_t length, int64_t deadline_ns) {
  while (length > 0) {
    const long count = KERNEL(SYS_write, fd, bytes, length, 0, 0, 0);
    if (count == -EAGAIN) {
      const enum ending waited = wait_for(fd, POLLOUT, deadline_ns);
      if (waited != ENDED) return waited;
    } else if (count < 0 && count != -EINTR) {
      return FAILED;
    } else if (count > 0) {
      bytes += count;
      length -= (size_t)count;
    }
  }
  return ENDED;
}

int connect_to(const char *path, int64_t deadline_ns) {
  struct sockaddr_un address = {.family = AF_UNIX};
  struct text text = {.bytes = address.path, .capacity = sizeof address.path - 1};
  put_string(&text, path);
  if (text.is_full || text.length == 0) return -1;
  const long fd = KERNEL(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, 0, 0, 0);
  if (fd < 0) return -1;
  /* Where a queue of connections is full, connect(2) waits as long as send(2) may. */
  const int64_t left_us = (deadline_ns - monotonic_ns()) / 1000;
  const struct timeval timeout = {left_us / 1000000, left_us % 1000000};
  const long limited = KERNEL(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout, 0);
  /* No time left would mean none to wait for: 0 stands for ever. */
  if (left_us > 0 && limited == 0 && KERNEL(SYS_connect, fd, &address, sizeof address, 0, 0, 0) == 0) return (int)fd;
  KERNEL(SYS_close, fd, 0, 0, 0, 0, 0);
  return -1;
}

enum ending send_all(int socket, const char *bytes, size_t length, int64_t deadline_ns) {
  while (length > 0) {
    const long count = KERNEL(SYS_sendto, socket, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
    if (count == -EAGAIN) {
      const enum ending waited = wait_for(socket, POLLOUT, deadline_ns);
      if (waited != ENDED) return waited;
    } else if (count < 0 && count != -EINTR) {
      return FAILED;
    } else if (count > 0) {
      bytes += count;
      length -= (size_t)count;
    }
  }
  return ENDED;
}

/* As glibc's makedev() puts it together, and with it Node's fs.stat(). */
static uint64_t device_number(uint32_t device_major, uint32_t device_minor) {
  const uint64_t high = (uint64_t)(device_major & 0xfffff000u) << 32 | (uint64_t)(device_minor & 0xffffff00u) << 12;
  return high | (uint64_t)(device_major & 0xfffu) << 8 | (device_minor & 0xffu);
}

struct identity identify(const char *path) {
  struct statx found;
  const long result = KERNEL(SYS_statx, AT_FDCWD, path, AT_NO_AUTOMOUNT, STATX_TYPE | STATX_INO, &found, 0);
  if (result != 0) return (struct identity){.is_known = false};
  return (struct identity){true, device_number(found.device_major, found.device_minor), found.inode};
}

int64_t modified_at(const char *path) {
  struct statx found;
  const long result = KERNEL(SYS_statx, AT_FDCWD, path, AT_NO_AUTOMOUNT, STATX_MTIME, &found, 0);
  return result == 0 ? found.modified_seconds : 0;
}

void pause_for(int64_t ns) {
  const struct timespec timeout = {ns / NS_PER_SECOND, ns % NS_PER_SECOND};
  /* A signal ends it early, which does no harm. */
  KERNEL(SYS_ppoll, 0, 0, &timeout, 0, 8, 0);
}

void close_fd(int fd) {
  KERNEL(SYS_close, fd, 0, 0, 0, 0, 0);
}

bool replace_stdin(const char *bytes, size_t length) {
  const long fd = KERNEL(SYS_memfd_create, "tulle-stdin", MFD_CLOEXEC, 0, 0, 0, 0);
  if (fd < 0) return false;
  /* Written at places, so that the file's own place stays its beginning. */
  for (size_t at = 0; at < length;) {
    const long count = KERNEL(SYS_pwrite64, fd, bytes + at, length - at, at, 0, 0);
    if (count == -EINTR) continue;
    if (count <= 0) return false;
    at += (size_t)count;
  }
  if (fd == STDIN) return false;
  return KERNEL(SYS_dup3, fd, STDIN, 0, 0, 0, 0) == STDIN;
}

_Noreturn void exit_with(int code) {
  for (;;) KERNEL(SYS_exit_group, code, 0, 0, 0, 0, 0);
}
