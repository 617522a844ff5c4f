#include "functions.h"
#include "netlink-exchange.h"
#include "netlink-transact.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Far more than a socket's send buffer takes (208 KiB by default): the kernel refuses what is too long with EMSGSIZE.
 */
#define MAX_REQUEST_BYTES ((size_t)16 * 1024 * 1024)

/* An exchange and, off the main thread, the promise that waits for it. */
struct transaction {
  struct request request;
  struct answer answer;
  napi_async_work work;
  napi_deferred deferred;
};

static void free_transaction(struct transaction *transaction) {
  free(transaction->request.bytes);
  free(transaction->answer.bytes);
  free(transaction);
}

/* JavaScript may change its bytes at any time (also from another thread): they are copied first, then checked. */
bool copy_request(napi_env env, struct request *request, const uint8_t *bytes, size_t length) {
  if (length == 0 || length > MAX_REQUEST_BYTES) {
    throw_type_error(env, "request has %zu bytes: want 16 to %zu", length, MAX_REQUEST_BYTES);
    return false;
  }
  request->bytes = malloc(length);
  if (request->bytes == NULL) {
    throw_failure(env, &(struct failure){ENOMEM, "malloc"}, "netlink request");
    return false;
  }
  memcpy(request->bytes, bytes, length);
  request->length = length;
  const char *problem = check_request(request);
  if (problem == NULL) return true;
  throw_type_error(env, "request is malformed: %s", problem);
  return false;
}

static bool read_request(napi_env env, napi_callback_info info, struct request *request) {
  napi_value arguments[4];
  const uint8_t *bytes;
  size_t length;
  int64_t last_seq;
  if (!read_arguments(env, info, 4, arguments)) return false;
  if (!read_fd(env, arguments[0], "socketFd", false, &request->socket_fd)) return false;
  if (!read_bytes(env, arguments[1], "request", &bytes, &length)) return false;
  if (!read_integer(env, arguments[2], "lastSeq", 0, UINT32_MAX, &last_seq)) return false;
  if (!read_timeout(env, arguments[3], &request->deadline_ns)) return false;
  request->last_seq = (uint32_t)last_seq;
  return copy_request(env, request, bytes, length);
}

/* NULL with an exception pending when the arguments are wrong. */
static struct transaction *begin(napi_env env, napi_callback_info info) {
  struct transaction *transaction = calloc(1, sizeof *transaction);
  if (transaction == NULL) {
    throw_failure(env, &(struct failure){ENOMEM, "calloc"}, "netlink request");
    return NULL;
  }
  if (read_request(env, info, &transaction->request)) return transaction;
  free_transaction(transaction);
  return NULL;
}

napi_value make_answer(napi_env env, const struct answer *answer) {
  napi_value buffer;
  TRY(env, napi_create_buffer_copy(env, answer->length, answer->bytes, NULL, &buffer));
  return buffer;
}

napi_value make_exchange_failure(napi_env env, const struct request *request, const struct answer *answer) {
  napi_value error, sent;
  char subject[48];
  snprintf(subject, sizeof subject, "netlink socket %d", request->socket_fd);
  error = make_failure(env, &answer->why, subject);
  if (error == NULL) return NULL;
  TRY(env, napi_get_boolean(env, answer->sent, &sent));
  TRY(env, napi_set_named_property(env, error, "sent", sent));
  return error;
}

napi_value transact_sync(napi_env env, napi_callback_info info) {
  struct transaction *transaction = begin(env, info);
  napi_value result = NULL;
  if (transaction == NULL) return NULL;
  exchange(&transaction->request, &transaction->answer);
  if (transaction->answer.why.error == 0) {
    result = make_answer(env, &transaction->answer);
  } else {
    napi_value error = make_exchange_failure(env, &transaction->request, &transaction->answer);
    if (error != NULL) napi_throw(env, error);
  }
  free_transaction(transaction);
  return result;
}

static void exchange_on_pool(napi_env env, void *data) {
  struct transaction *transaction = data;
  (void)env;
  exchange(&transaction->request, &transaction->answer);
}

napi_value take_exception(napi_env env) {
  napi_value exception = NULL;
  napi_get_and_clear_last_exception(env, &exception);
  return exception;
}

static void settle(napi_env env, napi_status status, void *data) {
  struct transaction *transaction = data;
  napi_value value = NULL;
  if (status == napi_cancelled) transaction->answer.why = (struct failure){ECANCELED, "sendto"};
  const bool succeeded = transaction->answer.why.error == 0;
  if (succeeded) value = make_answer(env, &transaction->answer);
  const bool resolves = value != NULL;
  if (!succeeded) value = make_exchange_failure(env, &transaction->request, &transaction->answer);
  if (value == NULL) value = take_exception(env);
  if (resolves) napi_resolve_deferred(env, transaction->deferred, value);
  else napi_reject_deferred(env, transaction->deferred, value);
  napi_delete_async_work(env, transaction->work);
  free_transaction(transaction);
}

static napi_value abandon(napi_env env, struct transaction *transaction) {
  throw_napi_failure(env);
  if (transaction->work != NULL) napi_delete_async_work(env, transaction->work);
  free_transaction(transaction);
  return NULL;
}

napi_value transact(napi_env env, napi_callback_info info) {
  struct transaction *transaction = begin(env, info);
  napi_value promise, name;
  if (transaction == NULL) return NULL;
  if (napi_create_string_utf8(env, "tulle:netlink", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_async_work(env, NULL, name, exchange_on_pool, settle, transaction, &transaction->work) != napi_ok ||
      napi_create_promise(env, &transaction->deferred, &promise) != napi_ok ||
      napi_queue_async_work(env, transaction->work) != napi_ok) {
    return abandon(env, transaction);
  }
  return promise;
}
