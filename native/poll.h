/* Waiting with a deadline. */
#ifndef TULLE_POLL_H
#define TULLE_POLL_H

#include <stdint.h>

enum readiness { READY, TIMED_OUT, POLL_FAILED };

/*
 * Waits until `fd` is readable, hung up or failed, or `deadline_ns` (monotonic) has passed. Looks at least once, also
 * when it has. POLL_FAILED leaves errno set; EBADF for a descriptor that is not open.
 */
enum readiness poll_readable(int fd, int64_t deadline_ns);

#endif
