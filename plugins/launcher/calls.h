/* System calls as the launcher needs them: retried after signals, and every wait with a deadline on the monotonic clock. */
#ifndef TULLE_CALLS_H
#define TULLE_CALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "request.h"

#define NS_PER_SECOND 1000000000LL

enum ending { ENDED, TOO_LONG, TIMED_OUT, FAILED };

int64_t monotonic_ns(void);
int64_t realtime_ms(void);

/* Reads to the end of `fd`, at most `capacity` bytes: TOO_LONG when there are more. `*length` counts also after a failure. */
enum ending read_to_end(int fd, char *bytes, size_t capacity, int64_t deadline_ns, size_t *length);

/* Reads what is there, waiting for it. `*length` is 0 at the end. */
enum ending read_some(int fd, char *bytes, size_t capacity, int64_t deadline_ns, size_t *length);

enum ending write_all(int fd, const char *bytes, size_t length, int64_t deadline_ns);

/* Connects to a Unix socket. Returns -1 when nobody takes the connection in time. */
int connect_to(const char *path, int64_t deadline_ns);

/* Sends on a socket. A peer that has gone is FAILED, never a signal. */
enum ending send_all(int socket, const char *bytes, size_t length, int64_t deadline_ns);

/* The file at `path`, through symbolic links. Never opens it. */
struct identity identify(const char *path);

/* When the file at `path` was last written to, in seconds of the wall clock; 0 when there is none. */
int64_t modified_at(const char *path);

void pause_for(int64_t ns);

void close_fd(int fd);

/* Makes standard input a file in memory with these bytes. */
bool replace_stdin(const char *bytes, size_t length);

_Noreturn void exit_with(int code);

#endif
