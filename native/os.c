#define _GNU_SOURCE
#include "functions.h"
#include "poll.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>

static napi_value throw_fd_failure(napi_env env, int error, const char *syscall, int fd) {
  const struct failure why = {error, syscall};
  char subject[32];
  snprintf(subject, sizeof subject, "descriptor %d", fd);
  return throw_failure(env, &why, subject);
}

static napi_value make_boolean(napi_env env, bool value) {
  napi_value result;
  TRY(env, napi_get_boolean(env, value, &result));
  return result;
}

napi_value try_lock(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  int fd, status;
  if (!read_arguments(env, info, 1, arguments)) return NULL;
  if (!read_fd(env, arguments[0], "fd", false, &fd)) return NULL;
  do status = flock(fd, LOCK_EX | LOCK_NB);
  while (status != 0 && errno == EINTR);
  if (status != 0 && errno != EWOULDBLOCK) return throw_fd_failure(env, errno, "flock", fd);
  return make_boolean(env, status == 0);
}

static napi_value make_credentials(napi_env env, const struct ucred *peer) {
  napi_value result, pid, uid, gid;
  TRY(env, napi_create_object(env, &result));
  TRY(env, napi_create_int32(env, peer->pid, &pid));
  TRY(env, napi_create_uint32(env, peer->uid, &uid));
  TRY(env, napi_create_uint32(env, peer->gid, &gid));
  TRY(env, napi_set_named_property(env, result, "pid", pid));
  TRY(env, napi_set_named_property(env, result, "uid", uid));
  TRY(env, napi_set_named_property(env, result, "gid", gid));
  return result;
}

napi_value peer_credentials(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  struct ucred peer;
  socklen_t length = sizeof peer;
  int fd;
  if (!read_arguments(env, info, 1, arguments)) return NULL;
  if (!read_fd(env, arguments[0], "fd", false, &fd)) return NULL;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
    return throw_fd_failure(env, errno, "getsockopt", fd);
  }
  /*
   * The kernel does not refuse a socket without a peer: it answers pid 0 and uid -1. A uid of -1 must never be
   * believed.
   */
  if (peer.uid == (uid_t)-1) return throw_fd_failure(env, ENOTCONN, "getsockopt", fd);
  return make_credentials(env, &peer);
}

napi_value trim_memory(napi_env env, napi_callback_info info) {
  (void)info;
  return make_boolean(env, malloc_trim(0) == 1);
}

napi_value wait_readable(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  int fd;
  int64_t deadline_ns;
  if (!read_arguments(env, info, 2, arguments)) return NULL;
  if (!read_fd(env, arguments[0], "fd", false, &fd)) return NULL;
  if (!read_timeout(env, arguments[1], &deadline_ns)) return NULL;
  const enum readiness readiness = poll_readable(fd, deadline_ns);
  if (readiness == POLL_FAILED) return throw_fd_failure(env, errno, "poll", fd);
  return make_boolean(env, readiness == READY);
}
