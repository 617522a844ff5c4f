#include "functions.h"

/* Registers the functions. Nothing else happens at load time: no descriptor, no thread, no state. */
NAPI_MODULE_INIT() {
  static const struct {
    const char *name;
    napi_callback function;
  } functions[] = {
      {"openNetns", open_netns},
      {"openOwnNetns", open_own_netns},
      {"openNetlink", open_netlink},
      {"openNetlinkListener", open_netlink_listener},
      {"receive", receive},
      {"transactSync", transact_sync},
      {"transact", transact},
      {"perform", perform},
      {"useSysctlFolder", use_sysctl_folder},
      {"readSysctl", read_sysctl},
      {"writeSysctls", write_sysctls},
      {"tryLock", try_lock},
      {"peerCredentials", peer_credentials},
      {"waitReadable", wait_readable},
      {"trimMemory", trim_memory},
      {"watchDeletedLinks", watch_deleted_links},
  };
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    napi_value function;
    TRY(env, napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].function, NULL, &function));
    TRY(env, napi_set_named_property(env, exports, functions[i].name, function));
  }
  return exports;
}
