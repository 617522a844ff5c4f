#define _GNU_SOURCE
#include "functions.h"
#include "poll.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

/* The kernel sends notifications in datagrams of at most this size. */
#define DATAGRAM_BYTES ((size_t)32 * 1024)
/* What is taken in one go: a burst is handed over in a few pieces, and none is without bound. */
#define MAX_TAKEN_BYTES (8 * DATAGRAM_BYTES)

/* A wait for datagrams, and the promise that stands for it. */
struct reception {
  int socket_fd;
  int64_t deadline_ns;
  uint8_t *bytes;
  size_t length;
  struct failure why;
  napi_async_work work;
  napi_deferred deferred;
};

static void free_reception(struct reception *reception) {
  free(reception->bytes);
  free(reception);
}

/* Takes what is there, whole datagrams only. False when nothing more is to be taken. */
static bool take_one(struct reception *reception) {
  const size_t room = MAX_TAKEN_BYTES - reception->length;
  if (room < DATAGRAM_BYTES) return false;
  const ssize_t count = recv(reception->socket_fd, reception->bytes + reception->length, room, MSG_DONTWAIT | MSG_TRUNC);
  if (count >= 0) {
    /* Cut short: the rest is lost, as with an overflow. */
    if ((size_t)count > room) reception->why = (struct failure){ENOBUFS, "recv"};
    else reception->length += (size_t)count;
    return reception->why.error == 0;
  }
  if (errno == EINTR) return true;
  if (errno != EAGAIN && errno != EWOULDBLOCK) reception->why = (struct failure){errno, "recv"};
  return false;
}

static void receive_on_pool(napi_env env, void *data) {
  struct reception *reception = data;
  (void)env;
  const enum readiness readiness = poll_readable(reception->socket_fd, reception->deadline_ns);
  if (readiness == POLL_FAILED) reception->why = (struct failure){errno, "poll"};
  if (readiness != READY) return;
  while (take_one(reception)) continue;
}

static napi_value make_outcome(napi_env env, const struct reception *reception) {
  napi_value buffer;
  char subject[48];
  if (reception->why.error == 0) {
    TRY(env, napi_create_buffer_copy(env, reception->length, reception->bytes, NULL, &buffer));
    return buffer;
  }
  snprintf(subject, sizeof subject, "netlink socket %d", reception->socket_fd);
  return make_failure(env, &reception->why, subject);
}

static void settle(napi_env env, napi_status status, void *data) {
  struct reception *reception = data;
  if (status == napi_cancelled) reception->why = (struct failure){ECANCELED, "recv"};
  napi_value value = make_outcome(env, reception);
  const bool resolves = value != NULL && reception->why.error == 0;
  if (value == NULL) napi_get_and_clear_last_exception(env, &value);
  if (resolves) napi_resolve_deferred(env, reception->deferred, value);
  else napi_reject_deferred(env, reception->deferred, value);
  napi_delete_async_work(env, reception->work);
  free_reception(reception);
}

/* NULL with an exception pending when the arguments are wrong or memory is short. */
static struct reception *begin(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  int socket_fd;
  int64_t deadline_ns;
  if (!read_arguments(env, info, 2, arguments)) return NULL;
  if (!read_fd(env, arguments[0], "socketFd", false, &socket_fd)) return NULL;
  if (!read_timeout(env, arguments[1], &deadline_ns)) return NULL;
  struct reception *reception = calloc(1, sizeof *reception);
  if (reception != NULL) reception->bytes = malloc(MAX_TAKEN_BYTES);
  if (reception == NULL || reception->bytes == NULL) {
    free(reception);
    throw_failure(env, &(struct failure){ENOMEM, "malloc"}, "netlink notifications");
    return NULL;
  }
  reception->socket_fd = socket_fd;
  reception->deadline_ns = deadline_ns;
  return reception;
}

napi_value receive(napi_env env, napi_callback_info info) {
  struct reception *reception = begin(env, info);
  napi_value promise, name;
  if (reception == NULL) return NULL;
  if (napi_create_string_utf8(env, "tulle:netlink-receive", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_async_work(env, NULL, name, receive_on_pool, settle, reception, &reception->work) != napi_ok ||
      napi_create_promise(env, &reception->deferred, &promise) != napi_ok ||
      napi_queue_async_work(env, reception->work) != napi_ok) {
    throw_napi_failure(env);
    if (reception->work != NULL) napi_delete_async_work(env, reception->work);
    free_reception(reception);
    return NULL;
  }
  return promise;
}
