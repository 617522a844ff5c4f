/* Exchanges between JavaScript and the kernel: what transact() and perform() share. */
#ifndef TULLE_NETLINK_TRANSACT_H
#define TULLE_NETLINK_TRANSACT_H

#include "netlink-exchange.h"

/* Copies and checks the messages of a request. The caller frees `request->bytes`. False with an exception pending. */
bool copy_request(napi_env env, struct request *request, const uint8_t *bytes, size_t length);

napi_value make_answer(napi_env env, const struct answer *answer);

/* The error of an exchange that failed, with `sent`. NULL with an exception pending. */
napi_value make_exchange_failure(napi_env env, const struct request *request, const struct answer *answer);

/* Takes a pending exception to reject with: a promise must not stay open for want of memory. */
napi_value take_exception(napi_env env);

#endif
