#include "values.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define NS_PER_MS 1000000LL
#define NS_PER_S 1000000000LL
#define MAX_TIMEOUT_MS (24.0 * 60 * 60 * 1000)

/* What a refused value is: numbers by value, everything else by type (its text may be long, or secret). */
static void describe_value(napi_env env, napi_value value, char *out, size_t size) {
  static const char *const names[] = {
      [napi_undefined] = "undefined", [napi_null] = "null",     [napi_boolean] = "a boolean",
      [napi_string] = "a string",     [napi_symbol] = "a symbol", [napi_object] = "an object",
      [napi_function] = "a function", [napi_external] = "an external", [napi_bigint] = "a bigint",
  };
  napi_valuetype type;
  double number;
  if (napi_typeof(env, value, &type) != napi_ok) {
    snprintf(out, size, "unreadable");
  } else if (type == napi_number && napi_get_value_double(env, value, &number) == napi_ok) {
    snprintf(out, size, "%.15g", number);
  } else {
    const bool named = (size_t)type < sizeof names / sizeof *names && names[type] != NULL;
    snprintf(out, size, "%s", named ? names[type] : "of an unknown type");
  }
}

static bool is_of_type(napi_env env, napi_value value, napi_valuetype wanted) {
  napi_valuetype type;
  return napi_typeof(env, value, &type) == napi_ok && type == wanted;
}

static bool refuse(napi_env env, napi_value value, const char *name, const char *wanted) {
  char seen[64];
  describe_value(env, value, seen, sizeof seen);
  throw_type_error(env, "%s is %s: want %s", name, seen, wanted);
  return false;
}

bool read_arguments(napi_env env, napi_callback_info info, size_t count, napi_value *arguments) {
  size_t given = count;
  /* Missing ones are filled with undefined, which every reader refuses by name. */
  if (napi_get_cb_info(env, info, &given, arguments, NULL, NULL) == napi_ok) return true;
  throw_napi_failure(env);
  return false;
}

bool read_integer(napi_env env, napi_value value, const char *name, int64_t min, int64_t max, int64_t *out) {
  double number;
  /* Read as a double: napi_get_value_int64 makes 0 of NaN and 1 of 1.5. */
  if (is_of_type(env, value, napi_number) && napi_get_value_double(env, value, &number) == napi_ok &&
      number >= (double)min && number <= (double)max && floor(number) == number) {
    *out = (int64_t)number;
    return true;
  }
  char wanted[80];
  snprintf(wanted, sizeof wanted, "an integer from %lld to %lld", (long long)min, (long long)max);
  return refuse(env, value, name, wanted);
}

bool read_fd(napi_env env, napi_value value, const char *name, bool or_own, int *out) {
  int64_t fd;
  if (!read_integer(env, value, name, or_own ? -1 : 0, INT_MAX, &fd)) return false;
  *out = (int)fd;
  return true;
}

bool read_timeout(napi_env env, napi_value value, int64_t *deadline_ns) {
  double ms;
  if (is_of_type(env, value, napi_number) && napi_get_value_double(env, value, &ms) == napi_ok && ms >= 0 &&
      ms <= MAX_TIMEOUT_MS) {
    *deadline_ns = now_ns() + (int64_t)(ms * (double)NS_PER_MS);
    return true;
  }
  return refuse(env, value, "timeoutMs", "milliseconds from 0 to 86400000");
}

bool read_text(napi_env env, napi_value value, const char *name, char *out, size_t size) {
  size_t length = 0, copied = 0;
  if (!is_of_type(env, value, napi_string) ||
      napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok) {
    return refuse(env, value, name, "a string");
  }
  if (length == 0 || length >= size) {
    throw_type_error(env, "%s has %zu bytes: want 1 to %zu", name, length, size - 1);
    return false;
  }
  if (napi_get_value_string_utf8(env, value, out, size, &copied) != napi_ok) {
    throw_napi_failure(env);
    return false;
  }
  /* A NUL would make C see another name than JavaScript did. */
  if (memchr(out, '\0', copied) == NULL) return true;
  throw_type_error(env, "%s has a NUL byte: want none", name);
  return false;
}

bool read_bytes(napi_env env, napi_value value, const char *name, const uint8_t **out, size_t *length) {
  bool is_typed = false;
  napi_typedarray_type type;
  void *data;
  if (napi_is_typedarray(env, value, &is_typed) == napi_ok && is_typed &&
      napi_get_typedarray_info(env, value, &type, length, &data, NULL, NULL) == napi_ok && type == napi_uint8_array) {
    *out = data;
    return true;
  }
  return refuse(env, value, name, "a Uint8Array");
}

napi_value throw_type_error(napi_env env, const char *format, ...) {
  char message[256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  napi_throw_type_error(env, "ERR_INVALID_ARG_VALUE", message);
  return NULL;
}

static napi_value make_system_error(napi_env env, const char *code, const struct failure *why, const char *message) {
  napi_value error, code_value, message_value, errno_value, syscall_value;
  TRY(env, napi_create_string_utf8(env, code, NAPI_AUTO_LENGTH, &code_value));
  TRY(env, napi_create_string_utf8(env, message, NAPI_AUTO_LENGTH, &message_value));
  TRY(env, napi_create_error(env, code_value, message_value, &error));
  TRY(env, napi_create_int32(env, -why->error, &errno_value));
  TRY(env, napi_set_named_property(env, error, "errno", errno_value));
  TRY(env, napi_create_string_utf8(env, why->syscall, NAPI_AUTO_LENGTH, &syscall_value));
  TRY(env, napi_set_named_property(env, error, "syscall", syscall_value));
  return error;
}

napi_value throw_system_error(napi_env env, const char *code, const struct failure *why, const char *message) {
  napi_value error = make_system_error(env, code, why, message);
  if (error != NULL) napi_throw(env, error);
  return NULL;
}

napi_value make_failure(napi_env env, const struct failure *why, const char *subject) {
  char message[PATH_MAX + 64];
  char scratch[16];
  const char *code = errno_code(why->error, scratch);
  snprintf(message, sizeof message, "%s %s: %s", why->syscall, subject, code);
  return make_system_error(env, code, why, message);
}

napi_value throw_failure(napi_env env, const struct failure *why, const char *subject) {
  napi_value error = make_failure(env, why, subject);
  if (error != NULL) napi_throw(env, error);
  return NULL;
}

napi_value throw_napi_failure(napi_env env) {
  const napi_extended_error_info *info = NULL;
  bool pending = false;
  napi_get_last_error_info(env, &info);
  const char *message = info != NULL && info->error_message != NULL ? info->error_message : "unknown failure";
  /* A getter or a proxy of the caller may have thrown: that exception is the better one. */
  if (napi_is_exception_pending(env, &pending) == napi_ok && !pending) napi_throw_error(env, NULL, message);
  return NULL;
}

int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * NS_PER_S + now.tv_nsec;
}
