/* Netlink sockets as the addon opens them. */
#ifndef TULLE_NETLINK_OPEN_H
#define TULLE_NETLINK_OPEN_H

#include "values.h"

struct opening {
  int protocol;
  uint32_t groups; /* multicast groups to hear, as a mask */
  int fd; /* -1 until it is open */
  struct failure why;
};

/* A task for visit_netns(): the socket stays in the namespace where it was opened. */
void open_socket(void *opening);

#endif
