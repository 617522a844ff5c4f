/* One request to the kernel and the messages that answer it. Knows message headers only, not what messages mean. */
#ifndef TULLE_NETLINK_EXCHANGE_H
#define TULLE_NETLINK_EXCHANGE_H

#include "values.h"

/* The request. `bytes` are whole messages, checked by check_request(). */
struct request {
  int socket_fd;
  uint8_t *bytes;
  size_t length;
  uint32_t first_seq;
  uint32_t last_seq;
  bool first_is_silent; /* the first message asks for no ACK: an NLMSG_ERROR for it is a refusal */
  int64_t deadline_ns;
};

/* What came of it. Either `why.error` is set or `bytes` hold the answer, each message aligned to 4 bytes. */
struct answer {
  uint8_t *bytes; /* from malloc; the caller frees it, also after a failure */
  size_t length;
  size_t capacity;
  bool sent; /* the kernel has the request */
  struct failure why;
};

/* Fills in the sequence numbers of `request` from its bytes. Returns NULL, or what is wrong with it. */
const char *check_request(struct request *request);

/* Sends `request` and collects its answer until the deadline. Takes no lock: one exchange at a time for each socket. */
void exchange(const struct request *request, struct answer *answer);

/* True when a message of the answer refuses what it answers. */
bool is_refused(const struct answer *answer);

#endif
