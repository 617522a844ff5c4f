/* The functions of the addon, by the file that has them. addon.ts documents what each promises. */
#ifndef TULLE_FUNCTIONS_H
#define TULLE_FUNCTIONS_H

#include "values.h"

/* netns.c */
napi_value open_netns(napi_env env, napi_callback_info info);
napi_value open_own_netns(napi_env env, napi_callback_info info);

/* netlink-open.c */
napi_value open_netlink(napi_env env, napi_callback_info info);
napi_value open_netlink_listener(napi_env env, napi_callback_info info);

/* netlink-receive.c */
napi_value receive(napi_env env, napi_callback_info info);

/* netlink-transact.c */
napi_value transact_sync(napi_env env, napi_callback_info info);
napi_value transact(napi_env env, napi_callback_info info);

/* perform.c */
napi_value perform(napi_env env, napi_callback_info info);

/* link-watch.c */
napi_value watch_deleted_links(napi_env env, napi_callback_info info);

/* sysctl.c */
napi_value use_sysctl_folder(napi_env env, napi_callback_info info);
napi_value read_sysctl(napi_env env, napi_callback_info info);
napi_value write_sysctls(napi_env env, napi_callback_info info);

/* os.c */
napi_value try_lock(napi_env env, napi_callback_info info);
napi_value peer_credentials(napi_env env, napi_callback_info info);
napi_value trim_memory(napi_env env, napi_callback_info info);
napi_value wait_readable(napi_env env, napi_callback_info info);

#endif
