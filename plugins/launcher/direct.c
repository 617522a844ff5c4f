#include "direct.h"

#include "calls.h"
#include "system.h"
#include "text.h"

#define MAX_PATH_BYTES 4096
#define MAX_VARIABLES 8192
#define PRINT_SECONDS 5

static const char program[] = "tulle-node";

/* Where the launcher lies, with everything that was a link resolved, and there the program. */
static bool find_program(struct text *path) {
  const long length = KERNEL(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", path->bytes, path->capacity, 0, 0);
  if (length <= 0 || (size_t)length == path->capacity) return false;
  path->length = (size_t)length;
  while (path->length > 0 && path->bytes[path->length - 1] != '/') path->length--;
  if (path->length == 0) return false;
  put_bytes(path, program, sizeof program);
  return !path->is_full;
}

/* What only a launcher says. A caller's own would be a lie. */
static bool is_ours(const char *variable) {
  return begins_with(variable, "TULLE_FALLBACK=") || begins_with(variable, "TULLE_ASKED_AT=");
}

/* Copies the environment and adds what there is to say. More variables than fit are kept as they are, and nothing is said. */
static char **environment_with(char **environment, const struct fallback *fallback) {
  static char *copy[MAX_VARIABLES + 3];
  static char reason_bytes[64];
  static char time_bytes[64];
  size_t count = 0;
  for (char **variable = environment; *variable != NULL; variable++) {
    if (is_ours(*variable)) continue;
    if (count == MAX_VARIABLES) return environment;
    copy[count++] = *variable;
  }
  if (fallback->reason != NULL) {
    struct text reason = {.bytes = reason_bytes, .capacity = sizeof reason_bytes};
    put_string(&reason, "TULLE_FALLBACK=");
    put_string(&reason, fallback->reason);
    put_bytes(&reason, "", 1);
    if (!reason.is_full) copy[count++] = reason_bytes;
  }
  if (fallback->asked_at_ms != 0) {
    struct text time = {.bytes = time_bytes, .capacity = sizeof time_bytes};
    put_string(&time, "TULLE_ASKED_AT=");
    put_number(&time, (uint64_t)fallback->asked_at_ms);
    put_bytes(&time, "", 1);
    if (!time.is_full) copy[count++] = time_bytes;
  }
  copy[count] = NULL;
  return copy;
}

_Noreturn void run_directly(const struct run *run, const struct fallback *fallback) {
  static char path_bytes[MAX_PATH_BYTES];
  struct text path = {.bytes = path_bytes, .capacity = sizeof path_bytes};
  char *no_arguments[2] = {path_bytes, NULL};
  char **arguments = run->arguments[0] == NULL ? no_arguments : run->arguments;
  if (!find_program(&path)) fail_with("Cannot find tulle-node: want /proc, and the executable beside the launcher");
  /* The executable is known by its name, and goes by this one. */
  arguments[0] = path_bytes;
  KERNEL(SYS_execve, path_bytes, arguments, environment_with(run->environment, fallback), 0, 0, 0);
  fail_with("Cannot execute tulle-node: want the executable beside the launcher");
}

_Noreturn void fail_with(const char *message) {
  static char bytes[512];
  struct text text = {.bytes = bytes, .capacity = sizeof bytes};
  put_string(&text, "{\"cniVersion\":\"1.1.0\",\"code\":5,\"msg\":\"");
  put_string(&text, message);
  put_string(&text, "\"}\n");
  write_all(STDOUT, bytes, text.length, monotonic_ns() + PRINT_SECONDS * NS_PER_SECOND);
  exit_with(1);
}
