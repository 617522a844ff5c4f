/* Arguments in, results and errors out: the border between N-API and the rest. */
#ifndef TULLE_VALUES_H
#define TULLE_VALUES_H

#define NAPI_VERSION 8
#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Why a system call failed. Filled in on any thread, thrown on Node's. `error` 0: nothing failed. */
struct failure {
  int error;
  const char *syscall; /* a literal */
};

/* Calls N-API; on failure leaves an exception pending and returns NULL from the caller. */
#define TRY(env, call) \
  do { \
    if ((call) != napi_ok) return throw_napi_failure(env); \
  } while (0)

/* Every reader returns false with a TypeError pending that names the argument, what it is and what is wanted. */
bool read_arguments(napi_env env, napi_callback_info info, size_t count, napi_value *arguments);
bool read_integer(napi_env env, napi_value value, const char *name, int64_t min, int64_t max, int64_t *out);
/* A descriptor; with `or_own`, also -1, which stands for our own namespace. */
bool read_fd(napi_env env, napi_value value, const char *name, bool or_own, int *out);
/* Milliseconds from now, as a point on the monotonic clock in nanoseconds. */
bool read_timeout(napi_env env, napi_value value, int64_t *deadline_ns);
/* Text of 1 to size-1 bytes of UTF-8 without NUL. */
bool read_text(napi_env env, napi_value value, const char *name, char *out, size_t size);
/* A Uint8Array (a Buffer is one). The bytes belong to JavaScript: copy them before they are looked at. */
bool read_bytes(napi_env env, napi_value value, const char *name, const uint8_t **out, size_t *length);

napi_value throw_type_error(napi_env env, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Throws `message` with code, errno (negative, as Node has it) and syscall. */
napi_value throw_system_error(napi_env env, const char *code, const struct failure *why, const char *message);
/* Throws "<syscall> <subject>: <code>". */
napi_value throw_failure(napi_env env, const struct failure *why, const char *subject);
napi_value throw_napi_failure(napi_env env);

/* Makes the error that throw_failure() throws. NULL with an exception pending when that is impossible. */
napi_value make_failure(napi_env env, const struct failure *why, const char *subject);

/* "EEXIST" for EEXIST; "E4095" for a number without a name, written to `scratch`. */
const char *errno_code(int error, char scratch[16]);

int64_t now_ns(void);

#endif
