/* The other way: the Node executable beside the launcher does the call itself. */
#ifndef TULLE_DIRECT_H
#define TULLE_DIRECT_H

#include <stddef.h>
#include <stdint.h>

/* One run of the plugin, as it was started. */
struct run {
  char **arguments;
  char **environment;
};

/* Why ipamd does not do the call, as TULLE_FALLBACK says it to tulle-node. */
struct fallback {
  /* Lower case letters and hyphens; NULL when there is nothing that ipamd could have done. */
  const char *reason;
  /* When the call was given to ipamd, in unix milliseconds, if it may have acted on it; 0 if it has not. */
  int64_t asked_at_ms;
};

/* Becomes tulle-node. Prints an error document when that is impossible. */
_Noreturn void run_directly(const struct run *run, const struct fallback *fallback);

/* Prints an error document (CNI SPEC 1.1.0, section 5) with code 5, an I/O failure. `message` needs no escapes in JSON. */
_Noreturn void fail_with(const char *message);

#endif
