#define _GNU_SOURCE
#include "functions.h"
#include "netlink-open.h"
#include "visit.h"

#include <errno.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECEIVE_BUFFER_BYTES (4 * 1024 * 1024)
#define SEND_BUFFER_BYTES (4 * 1024 * 1024)

/* A burst of answers larger than the default buffer (208 KiB) would be lost as ENOBUFS. */
static bool enlarge_receive_buffer(int fd) {
  const int bytes = RECEIVE_BUFFER_BYTES;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) == 0) return true;
  return setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes) == 0;
}

/* A transaction of nf_tables is one message, and one that is larger than the default buffer (208 KiB) is refused as EMSGSIZE. */
static bool enlarge_send_buffer(int fd, int protocol) {
  const int bytes = SEND_BUFFER_BYTES;
  if (protocol != NETLINK_NETFILTER) return true;
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) == 0) return true;
  return setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes) == 0;
}

static bool set_options(int fd) {
  static const int options[] = {
      NETLINK_EXT_ACK,        /* errors come with the kernel's own words */
      NETLINK_CAP_ACK,        /* and without a copy of the request */
      NETLINK_GET_STRICT_CHK, /* a filter that a dump cannot honour is refused, not ignored */
  };
  const int on = 1;
  for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
    if (setsockopt(fd, SOL_NETLINK, options[i], &on, sizeof on) != 0) return false;
  }
  return true;
}

void open_socket(void *argument) {
  struct opening *opening = argument;
  const struct sockaddr_nl any_port = {.nl_family = AF_NETLINK, .nl_groups = opening->groups};
  const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, opening->protocol);
  if (fd < 0) {
    opening->why = (struct failure){errno, "socket"};
    return;
  }
  if (!set_options(fd) || !enlarge_receive_buffer(fd) || !enlarge_send_buffer(fd, opening->protocol)) {
    opening->why = (struct failure){errno, "setsockopt"};
  } else if (bind(fd, (const struct sockaddr *)&any_port, sizeof any_port) != 0) {
    opening->why = (struct failure){errno, "bind"};
  }
  if (opening->why.error == 0) opening->fd = fd;
  else close(fd);
}

static napi_value open_in(napi_env env, int netns_fd, int64_t protocol, int64_t groups) {
  struct opening opening = {.protocol = (int)protocol, .groups = (uint32_t)groups, .fd = -1};
  struct failure why = {0};
  napi_value result;
  if (visit_netns(netns_fd, open_socket, &opening, &why)) why = opening.why;
  if (why.error != 0) {
    char subject[64];
    snprintf(subject, sizeof subject, "netlink protocol %d, namespace descriptor %d", opening.protocol, netns_fd);
    return throw_failure(env, &why, subject);
  }
  if (napi_create_int32(env, opening.fd, &result) == napi_ok) return result;
  close(opening.fd);
  return throw_napi_failure(env);
}

napi_value open_netlink(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  int netns_fd;
  int64_t protocol;
  if (!read_arguments(env, info, 2, arguments)) return NULL;
  if (!read_fd(env, arguments[0], "netnsFd", true, &netns_fd)) return NULL;
  if (!read_integer(env, arguments[1], "protocol", 0, MAX_LINKS - 1, &protocol)) return NULL;
  return open_in(env, netns_fd, protocol, 0);
}

napi_value open_netlink_listener(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  int netns_fd;
  int64_t protocol, groups;
  if (!read_arguments(env, info, 3, arguments)) return NULL;
  if (!read_fd(env, arguments[0], "netnsFd", true, &netns_fd)) return NULL;
  if (!read_integer(env, arguments[1], "protocol", 0, MAX_LINKS - 1, &protocol)) return NULL;
  if (!read_integer(env, arguments[2], "groups", 1, UINT32_MAX, &groups)) return NULL;
  return open_in(env, netns_fd, protocol, groups);
}
