#define _GNU_SOURCE
#include "functions.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#define RECEIVE_BUFFER_BYTES (4 * 1024 * 1024)
#define DATAGRAM_BYTES (32 * 1024)
/* Then the event loop gets a turn; the descriptor is still readable afterwards. */
#define MAX_DATAGRAMS 256

/* A socket that hears of links that are gone, and whom to tell. Lives until it is closed, on Node's main thread. */
struct watch {
  uv_poll_t poll;
  int fd;
  bool is_closing;
  napi_env env;
  napi_ref callback;
  napi_async_context context;
  napi_async_cleanup_hook_handle hook;
  uint8_t datagram[DATAGRAM_BYTES];
};

/*
 * The kernel drops everything but RTM_DELLINK of family AF_UNSPEC before it wakes us: an ADD makes a dozen other messages,
 * and a bridge says RTM_DELLINK of its own family when a port leaves it. Loads are big-endian, messages are not.
 */
static bool hear_only_deletions(int fd) {
  struct sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_type)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, RTM_DELLINK << 8, 0, 3),
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, NLMSG_HDRLEN + offsetof(struct ifinfomsg, ifi_family)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_UNSPEC, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  const struct sock_fprog filter = {sizeof program / sizeof *program, program};
  return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) == 0;
}

static int open_watch(struct failure *why) {
  const struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
  const int bytes = RECEIVE_BUFFER_BYTES;
  const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
  if (fd < 0) {
    *why = (struct failure){errno, "socket"};
    return -1;
  }
  /* A smaller buffer only means that more has to wait for the ACK. */
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0)
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  if (!hear_only_deletions(fd)) *why = (struct failure){errno, "setsockopt"};
  else if (bind(fd, (const struct sockaddr *)&address, sizeof address) != 0) *why = (struct failure){errno, "bind"};
  if (why->error == 0) return fd;
  close(fd);
  return -1;
}

/* A callback that throws is a bug of its own: the process ends as with any exception that nobody caught. */
static void tell(struct watch *watch, int32_t index) {
  napi_handle_scope scope;
  napi_value callback, receiver, argument, exception;
  if (napi_open_handle_scope(watch->env, &scope) != napi_ok) return;
  if (napi_get_reference_value(watch->env, watch->callback, &callback) == napi_ok &&
      napi_get_global(watch->env, &receiver) == napi_ok &&
      napi_create_int32(watch->env, index, &argument) == napi_ok &&
      napi_make_callback(watch->env, watch->context, receiver, callback, 1, &argument, NULL) ==
          napi_pending_exception &&
      napi_get_and_clear_last_exception(watch->env, &exception) == napi_ok) {
    napi_fatal_exception(watch->env, exception);
  }
  napi_close_handle_scope(watch->env, scope);
}

static void read_messages(struct watch *watch, size_t length) {
  size_t at = 0;
  while (!watch->is_closing && length - at >= NLMSG_HDRLEN + sizeof(struct ifinfomsg)) {
    struct nlmsghdr header;
    struct ifinfomsg link;
    memcpy(&header, watch->datagram + at, sizeof header);
    memcpy(&link, watch->datagram + at + NLMSG_HDRLEN, sizeof link);
    if (header.nlmsg_len < NLMSG_HDRLEN + sizeof link || header.nlmsg_len > length - at) return;
    if (header.nlmsg_type == RTM_DELLINK && link.ifi_family == AF_UNSPEC) tell(watch, link.ifi_index);
    at += NLMSG_ALIGN((size_t)header.nlmsg_len);
    if (at > length) return;
  }
}

/* What was lost (ENOBUFS), or does not fit, is heard of by its ACK. */
static void on_readable(uv_poll_t *poll, int status, int events) {
  struct watch *const watch = poll->data;
  (void)status;
  (void)events;
  for (int count = 0; count < MAX_DATAGRAMS && !watch->is_closing; count++) {
    struct sockaddr_nl sender;
    socklen_t sender_length = sizeof sender;
    memset(&sender, 0, sizeof sender);
    const ssize_t length = recvfrom(watch->fd, watch->datagram, sizeof watch->datagram, MSG_TRUNC | MSG_DONTWAIT,
                                    (struct sockaddr *)&sender, &sender_length);
    if (length < 0 && errno != EINTR && errno != ENOBUFS) return;
    /* Whoever may send to the group is not the kernel, which has port 0. */
    if (length > 0 && (size_t)length <= sizeof watch->datagram && sender.nl_pid == 0)
      read_messages(watch, (size_t)length);
  }
}

static void free_watch(uv_handle_t *handle) {
  struct watch *const watch = handle->data;
  close(watch->fd);
  napi_delete_reference(watch->env, watch->callback);
  napi_async_destroy(watch->env, watch->context);
  napi_remove_async_cleanup_hook(watch->hook);
  free(watch);
}

static void close_watch(struct watch *watch) {
  if (watch->is_closing) return;
  watch->is_closing = true;
  uv_close((uv_handle_t *)&watch->poll, free_watch);
}

static void on_environment_end(napi_async_cleanup_hook_handle handle, void *data) {
  (void)handle;
  close_watch(data);
}

/* The function that ends a watch. `data` is a box that outlives the watch: calling it again does nothing. */
static napi_value stop(napi_env env, napi_callback_info info) {
  struct watch **box;
  TRY(env, napi_get_cb_info(env, info, NULL, NULL, NULL, (void **)&box));
  if (*box != NULL) close_watch(*box);
  *box = NULL;
  return NULL;
}

static void free_box(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  free(data);
}

static napi_value make_stop(napi_env env, struct watch *watch) {
  napi_value function;
  struct watch **const box = malloc(sizeof *box);
  if (box == NULL) return throw_failure(env, &(struct failure){ENOMEM, "malloc"}, "link watch");
  *box = watch;
  if (napi_create_function(env, "stop", NAPI_AUTO_LENGTH, stop, box, &function) != napi_ok ||
      napi_add_finalizer(env, function, box, free_box, NULL, NULL) != napi_ok) {
    free(box);
    return throw_napi_failure(env);
  }
  return function;
}

/* Hands the descriptor to the event loop, which does not wait for it when it has nothing else to do. */
static bool begin(napi_env env, struct watch *watch, napi_value callback) {
  uv_loop_t *loop;
  napi_value name;
  watch->env = env;
  watch->poll.data = watch;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok || uv_poll_init(loop, &watch->poll, watch->fd) != 0) return false;
  uv_unref((uv_handle_t *)&watch->poll);
  return napi_create_string_utf8(env, "tulle:links", NAPI_AUTO_LENGTH, &name) == napi_ok &&
         napi_async_init(env, NULL, name, &watch->context) == napi_ok &&
         napi_create_reference(env, callback, 1, &watch->callback) == napi_ok &&
         napi_add_async_cleanup_hook(env, on_environment_end, watch, &watch->hook) == napi_ok &&
         uv_poll_start(&watch->poll, UV_READABLE, on_readable) == 0;
}

napi_value watch_deleted_links(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  napi_valuetype type;
  struct failure why = {0};
  if (!read_arguments(env, info, 1, arguments)) return NULL;
  TRY(env, napi_typeof(env, arguments[0], &type));
  if (type != napi_function) return throw_type_error(env, "onDeleted: want a function");
  struct watch *const watch = calloc(1, sizeof *watch);
  if (watch == NULL) return throw_failure(env, &(struct failure){ENOMEM, "calloc"}, "link watch");
  watch->fd = open_watch(&why);
  if (watch->fd < 0) {
    free(watch);
    return throw_failure(env, &why, "link watch");
  }
  /* With the loop or the environment out of memory, what is half made stays as it is: the process will not last. */
  if (!begin(env, watch, arguments[0])) return throw_napi_failure(env);
  return make_stop(env, watch);
}
