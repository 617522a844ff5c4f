/* What ipamd is asked: the environment as the head of one HTTP/1.1 request. Pure. */
#ifndef TULLE_REQUEST_H
#define TULLE_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "text.h"

/* Which file something is. */
struct identity {
  bool is_known;
  uint64_t device;
  uint64_t inode;
};

/* What a request says beside the environment. */
struct circumstances {
  int64_t deadline_ns; /* on the monotonic clock */
  struct identity host_netns;
  struct identity pod_netns;
  struct identity run_folder;
  size_t body_length;
};

/*
 * Writes the head of the request. False when the environment cannot be said in headers as it is, or does not fit:
 * somebody else has to read it then.
 */
bool write_head(struct text *head, char **environment, const struct circumstances *circumstances);

#endif
