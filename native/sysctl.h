/* Settings below /proc/sys/net, written in order in one visit to a namespace. */
#ifndef TULLE_SYSCTL_H
#define TULLE_SYSCTL_H

#include "values.h"

#define SYSCTL_FOLDER_BYTES 256
#define SYSCTL_PATH_BYTES 528
#define SYSCTL_VALUE_BYTES 4096

struct setting {
  char path[SYSCTL_PATH_BYTES];
  char value[SYSCTL_VALUE_BYTES];
};

struct writing {
  struct setting *settings; /* the caller frees them, also when read_settings() fails */
  uint32_t count;
  uint32_t index; /* of the setting at work; of the one refused when `why` is set */
  struct failure why;
};

/* Reads an array of [key, value]. False with a TypeError pending. */
bool read_settings(napi_env env, napi_value list, struct writing *writing);

/* A task for visit_netns(): stops at the first that is refused. */
void write_settings(void *writing);

/* The error for the refused setting, with its index. NULL with an exception pending. */
napi_value make_writing_failure(napi_env env, const struct failure *why, const struct writing *writing);

#endif
