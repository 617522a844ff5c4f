#define _GNU_SOURCE
#include "functions.h"
#include "netlink-open.h"
#include "netlink-transact.h"
#include "sysctl.h"
#include "visit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_STEPS 64
/* In place of a descriptor: the socket that the last step of its kind has opened. */
#define OPENED_BEFORE (-1)

enum step_kind { OPEN_SOCKET, EXCHANGE, WRITE_SYSCTLS };

/* One step, and what became of it. */
struct step {
  enum step_kind kind;
  int netns_fd; /* our own copy: the caller may close its own at any time. OWN_NETNS where there is none */
  struct opening opening;
  struct request request;
  struct answer answer;
  struct writing writing;
};

/* Steps that are done one after another on a thread of the pool, and the promise that waits for them. */
struct performance {
  struct step *steps;
  uint32_t count;
  uint32_t ended; /* steps that have an answer */
  struct failure why; /* of the step after these, when it has failed */
  int64_t deadline_ns;
  napi_async_work work;
  napi_deferred deferred;
};

static void free_performance(struct performance *performance) {
  for (uint32_t i = 0; performance->steps != NULL && i < performance->count; i++) {
    struct step *const step = &performance->steps[i];
    if (step->netns_fd >= 0) close(step->netns_fd);
    free(step->request.bytes);
    free(step->answer.bytes);
    free(step->writing.settings);
  }
  free(performance->steps);
  free(performance);
}

static bool has(napi_env env, napi_value object, const char *name) {
  bool result = false;
  return napi_has_named_property(env, object, name, &result) == napi_ok && result;
}

static bool get(napi_env env, napi_value object, const char *name, napi_value *value) {
  if (napi_get_named_property(env, object, name, value) == napi_ok) return true;
  throw_napi_failure(env);
  return false;
}

static bool read_netns(napi_env env, napi_value value, const char *name, struct step *step) {
  int fd;
  if (!read_fd(env, value, name, true, &fd)) return false;
  if (fd == OWN_NETNS) return true;
  step->netns_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (step->netns_fd >= 0) return true;
  throw_failure(env, &(struct failure){errno, "fcntl"}, name);
  return false;
}

static bool read_exchange(napi_env env, napi_value object, struct step *step) {
  napi_value fd, bytes, last_seq;
  const uint8_t *start;
  size_t length;
  int64_t seq;
  if (!get(env, object, "socketFd", &fd) || !get(env, object, "request", &bytes) ||
      !get(env, object, "lastSeq", &last_seq)) {
    return false;
  }
  if (!read_fd(env, fd, "socketFd", true, &step->request.socket_fd)) return false;
  if (!read_bytes(env, bytes, "request", &start, &length)) return false;
  if (!read_integer(env, last_seq, "lastSeq", 0, UINT32_MAX, &seq)) return false;
  step->request.last_seq = (uint32_t)seq;
  return copy_request(env, &step->request, start, length);
}

static bool read_step(napi_env env, napi_value object, struct step *step) {
  napi_value value, netns;
  if (has(env, object, "openIn")) {
    step->kind = OPEN_SOCKET;
    step->opening = (struct opening){.protocol = NETLINK_ROUTE, .fd = -1};
    return get(env, object, "openIn", &value) && read_netns(env, value, "openIn", step);
  }
  if (has(env, object, "settings")) {
    step->kind = WRITE_SYSCTLS;
    return get(env, object, "netnsFd", &netns) && get(env, object, "settings", &value) &&
           read_netns(env, netns, "netnsFd", step) && read_settings(env, value, &step->writing);
  }
  step->kind = EXCHANGE;
  return read_exchange(env, object, step);
}

static bool read_steps(napi_env env, napi_value list, struct performance *performance) {
  bool is_array = false;
  uint32_t count = 0;
  if (napi_is_array(env, list, &is_array) != napi_ok || !is_array ||
      napi_get_array_length(env, list, &count) != napi_ok || count == 0 || count > MAX_STEPS) {
    throw_type_error(env, "steps: want an array of 1 to %d", MAX_STEPS);
    return false;
  }
  performance->steps = calloc(count, sizeof *performance->steps);
  if (performance->steps == NULL) {
    throw_failure(env, &(struct failure){ENOMEM, "calloc"}, "steps");
    return false;
  }
  bool has_opened = false;
  for (uint32_t i = 0; i < count; i++) {
    struct step *const step = &performance->steps[i];
    napi_value object;
    napi_valuetype type;
    step->netns_fd = OWN_NETNS;
    performance->count = i + 1;
    if (napi_get_element(env, list, i, &object) != napi_ok || napi_typeof(env, object, &type) != napi_ok) {
      throw_napi_failure(env);
      return false;
    }
    if (type != napi_object) {
      throw_type_error(env, "step %u: want an object", i);
      return false;
    }
    if (!read_step(env, object, step)) return false;
    has_opened = has_opened || step->kind == OPEN_SOCKET;
    if (step->kind == EXCHANGE && step->request.socket_fd == OPENED_BEFORE && !has_opened) {
      throw_type_error(env, "step %u: socketFd is -1: want a step before it that opens a socket", i);
      return false;
    }
  }
  return true;
}

/* Does one step. False when it failed, and `why` says how. */
static bool perform_step(struct step *step, int opened_fd, int64_t deadline_ns, struct failure *why) {
  switch (step->kind) {
    case OPEN_SOCKET:
      if (visit_netns(step->netns_fd, open_socket, &step->opening, why)) *why = step->opening.why;
      break;
    case WRITE_SYSCTLS:
      if (visit_netns(step->netns_fd, write_settings, &step->writing, why)) *why = step->writing.why;
      break;
    case EXCHANGE:
      step->request.deadline_ns = deadline_ns;
      if (step->request.socket_fd == OPENED_BEFORE) step->request.socket_fd = opened_fd;
      exchange(&step->request, &step->answer);
      *why = step->answer.why;
      break;
  }
  return why->error == 0;
}

static void perform_on_pool(napi_env env, void *data) {
  struct performance *const performance = data;
  int opened_fd = -1;
  (void)env;
  for (uint32_t i = 0; i < performance->count; i++) {
    struct step *const step = &performance->steps[i];
    /* Nothing begins after its deadline, however long the thread pool kept it waiting. */
    if (now_ns() >= performance->deadline_ns) {
      performance->why = (struct failure){ETIMEDOUT, "perform"};
      step->answer.why = performance->why;
      return;
    }
    if (!perform_step(step, opened_fd, performance->deadline_ns, &performance->why)) return;
    performance->ended = i + 1;
    if (step->kind == OPEN_SOCKET) opened_fd = step->opening.fd;
    if (step->kind == EXCHANGE && is_refused(&step->answer)) return;
  }
}

static bool make_step_answer(napi_env env, const struct step *step, napi_value *value) {
  switch (step->kind) {
    case OPEN_SOCKET: return napi_create_int32(env, step->opening.fd, value) == napi_ok;
    case WRITE_SYSCTLS: return napi_get_undefined(env, value) == napi_ok;
    case EXCHANGE: return (*value = make_answer(env, &step->answer)) != NULL;
  }
  return false;
}

static napi_value make_step_failure(napi_env env, const struct step *step, const struct failure *why) {
  napi_value error, sent;
  if (step->kind == EXCHANGE) return make_exchange_failure(env, &step->request, &step->answer);
  if (step->kind == WRITE_SYSCTLS && step->writing.count > 0) error = make_writing_failure(env, why, &step->writing);
  else error = make_failure(env, why, "network namespace");
  if (error == NULL) return NULL;
  TRY(env, napi_get_boolean(env, false, &sent));
  TRY(env, napi_set_named_property(env, error, "sent", sent));
  return error;
}

static napi_value make_outcome(napi_env env, const struct performance *performance) {
  napi_value outcome, answers;
  TRY(env, napi_create_object(env, &outcome));
  TRY(env, napi_create_array_with_length(env, performance->ended, &answers));
  for (uint32_t i = 0; i < performance->ended; i++) {
    napi_value answer;
    if (!make_step_answer(env, &performance->steps[i], &answer)) return throw_napi_failure(env);
    TRY(env, napi_set_element(env, answers, i, answer));
  }
  TRY(env, napi_set_named_property(env, outcome, "answers", answers));
  if (performance->why.error == 0) return outcome;
  napi_value failure = make_step_failure(env, &performance->steps[performance->ended], &performance->why);
  if (failure == NULL) return NULL;
  TRY(env, napi_set_named_property(env, outcome, "failure", failure));
  return outcome;
}

/* Sockets that nobody hears of belong to nobody. */
static void close_opened(const struct performance *performance) {
  for (uint32_t i = 0; i < performance->ended; i++) {
    const struct step *const step = &performance->steps[i];
    if (step->kind == OPEN_SOCKET) close(step->opening.fd);
  }
}

static void settle(napi_env env, napi_status status, void *data) {
  struct performance *const performance = data;
  if (status == napi_cancelled) {
    performance->why = (struct failure){ECANCELED, "perform"};
    performance->steps[0].answer.why = performance->why;
  }
  napi_value outcome = make_outcome(env, performance);
  if (outcome != NULL) {
    napi_resolve_deferred(env, performance->deferred, outcome);
  } else {
    close_opened(performance);
    napi_reject_deferred(env, performance->deferred, take_exception(env));
  }
  napi_delete_async_work(env, performance->work);
  free_performance(performance);
}

static napi_value abandon(napi_env env, struct performance *performance) {
  throw_napi_failure(env);
  if (performance->work != NULL) napi_delete_async_work(env, performance->work);
  free_performance(performance);
  return NULL;
}

napi_value perform(napi_env env, napi_callback_info info) {
  napi_value arguments[2], promise, name;
  if (!read_arguments(env, info, 2, arguments)) return NULL;
  struct performance *const performance = calloc(1, sizeof *performance);
  if (performance == NULL) return throw_failure(env, &(struct failure){ENOMEM, "calloc"}, "steps");
  if (!read_timeout(env, arguments[1], &performance->deadline_ns) || !read_steps(env, arguments[0], performance)) {
    free_performance(performance);
    return NULL;
  }
  if (napi_create_string_utf8(env, "tulle:perform", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_async_work(env, NULL, name, perform_on_pool, settle, performance, &performance->work) != napi_ok ||
      napi_create_promise(env, &performance->deferred, &promise) != napi_ok ||
      napi_queue_async_work(env, performance->work) != napi_ok) {
    return abandon(env, performance);
  }
  return promise;
}
