#define _GNU_SOURCE
#include "functions.h"
#include "sysctl.h"
#include "visit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEY_BYTES 256
#define PATH_BYTES SYSCTL_PATH_BYTES
/* The longest there are (bitmaps of ports) can have more than a page. */
#define READ_BYTES (64 * 1024)
#define MAX_SETTINGS 1024

/* Where /proc/sys is. Touched only by the thread of JavaScript: paths are made before a task goes elsewhere. */
static char folder[SYSCTL_FOLDER_BYTES] = "/proc/sys";

_Static_assert(PATH_BYTES > sizeof folder + KEY_BYTES, "a path has room for every key");

napi_value use_sysctl_folder(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  char path[SYSCTL_FOLDER_BYTES];
  if (!read_arguments(env, info, 1, arguments)) return NULL;
  if (!read_text(env, arguments[0], "path", path, sizeof path)) return NULL;
  if (path[0] != '/') return throw_type_error(env, "path is %.120s: want an absolute path", path);
  memcpy(folder, path, sizeof folder);
  return NULL;
}

/* A key is a path below /proc/sys/net and must stay there. A dot inside a component is part of an interface's name. */
static bool stays_below_net(const char *key) {
  if (strncmp(key, "net/", 4) != 0) return false;
  for (const char *component = key;; component++) {
    const size_t length = strcspn(component, "/");
    if (length == 0 || strncmp(component, ".", length) == 0 || strncmp(component, "..", length) == 0) return false;
    component += length;
    if (*component == '\0') return true;
  }
}

static bool read_path(napi_env env, napi_value value, char path[PATH_BYTES]) {
  char key[KEY_BYTES];
  if (!read_text(env, value, "key", key, sizeof key)) return false;
  if (!stays_below_net(key)) {
    throw_type_error(env, "key is %.120s: want a path that begins with net/ and stays there", key);
    return false;
  }
  snprintf(path, PATH_BYTES, "%s/%s", folder, key);
  return true;
}

static int open_sysctl(const char *path, int mode, struct failure *why) {
  int fd;
  do fd = open(path, mode | O_CLOEXEC);
  while (fd < 0 && errno == EINTR);
  if (fd < 0) *why = (struct failure){errno, "openat"};
  return fd;
}

struct reading {
  char path[PATH_BYTES];
  char *text; /* READ_BYTES */
  size_t length;
  struct failure why;
};

/* /proc/sys/net shows the namespace of the thread that opens it. */
static void read_one(void *argument) {
  struct reading *reading = argument;
  const int fd = open_sysctl(reading->path, O_RDONLY, &reading->why);
  if (fd < 0) return;
  for (;;) {
    const ssize_t count = read(fd, reading->text + reading->length, READ_BYTES - reading->length);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) reading->why = (struct failure){errno, "read"};
    if (count <= 0) break;
    reading->length += (size_t)count;
    if (reading->length < READ_BYTES) continue;
    reading->why = (struct failure){EOVERFLOW, "read"};
    break;
  }
  close(fd);
}

static napi_value make_text(napi_env env, const char *text, size_t length) {
  napi_value result;
  if (length > 0 && text[length - 1] == '\n') length--;
  TRY(env, napi_create_string_utf8(env, text, length, &result));
  return result;
}

napi_value read_sysctl(napi_env env, napi_callback_info info) {
  napi_value arguments[2], result;
  int netns_fd;
  struct reading reading = {0};
  struct failure why = {0};
  if (!read_arguments(env, info, 2, arguments)) return NULL;
  if (!read_fd(env, arguments[0], "netnsFd", true, &netns_fd)) return NULL;
  if (!read_path(env, arguments[1], reading.path)) return NULL;

  reading.text = malloc(READ_BYTES);
  if (reading.text == NULL) return throw_failure(env, &(struct failure){ENOMEM, "malloc"}, reading.path);
  if (visit_netns(netns_fd, read_one, &reading, &why)) why = reading.why;
  if (why.error != 0) result = throw_failure(env, &why, reading.path);
  else result = make_text(env, reading.text, reading.length);
  free(reading.text);
  return result;
}

static struct failure write_one(const struct setting *setting) {
  struct failure why = {0};
  const size_t length = strlen(setting->value);
  ssize_t count;
  const int fd = open_sysctl(setting->path, O_WRONLY, &why);
  if (fd < 0) return why;
  /* One write at offset 0: a sysctl takes its value whole. */
  do count = pwrite(fd, setting->value, length, 0);
  while (count < 0 && errno == EINTR);
  if (count < 0) why = (struct failure){errno, "pwrite64"};
  else if ((size_t)count != length) why = (struct failure){EIO, "pwrite64"};
  close(fd);
  return why;
}

void write_settings(void *argument) {
  struct writing *writing = argument;
  for (; writing->index < writing->count; writing->index++) {
    writing->why = write_one(&writing->settings[writing->index]);
    if (writing->why.error != 0) return;
  }
}

napi_value make_writing_failure(napi_env env, const struct failure *why, const struct writing *writing) {
  napi_value error, index;
  error = make_failure(env, why, writing->settings[writing->index].path);
  if (error == NULL) return NULL;
  TRY(env, napi_create_uint32(env, writing->index, &index));
  TRY(env, napi_set_named_property(env, error, "index", index));
  return error;
}

static bool read_setting(napi_env env, napi_value pair, struct setting *setting) {
  napi_value key, value;
  bool is_array = false;
  if (napi_is_array(env, pair, &is_array) != napi_ok || !is_array) {
    throw_type_error(env, "a setting is no array: want [key, value]");
    return false;
  }
  if (napi_get_element(env, pair, 0, &key) != napi_ok || napi_get_element(env, pair, 1, &value) != napi_ok) {
    throw_napi_failure(env);
    return false;
  }
  return read_path(env, key, setting->path) && read_text(env, value, "value", setting->value, sizeof setting->value);
}

bool read_settings(napi_env env, napi_value list, struct writing *writing) {
  bool is_array = false;
  if (napi_is_array(env, list, &is_array) != napi_ok || !is_array ||
      napi_get_array_length(env, list, &writing->count) != napi_ok || writing->count > MAX_SETTINGS) {
    throw_type_error(env, "settings: want an array of at most %d [key, value]", MAX_SETTINGS);
    return false;
  }
  writing->settings = calloc(writing->count + 1, sizeof *writing->settings);
  if (writing->settings == NULL) {
    throw_failure(env, &(struct failure){ENOMEM, "calloc"}, "sysctl settings");
    return false;
  }
  for (uint32_t i = 0; i < writing->count; i++) {
    napi_value pair;
    if (napi_get_element(env, list, i, &pair) != napi_ok) {
      throw_napi_failure(env);
      return false;
    }
    if (!read_setting(env, pair, &writing->settings[i])) return false;
  }
  return true;
}

napi_value write_sysctls(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  int netns_fd;
  struct writing writing = {0};
  struct failure why = {0};
  if (!read_arguments(env, info, 2, arguments)) return NULL;
  if (!read_fd(env, arguments[0], "netnsFd", true, &netns_fd)) return NULL;
  if (read_settings(env, arguments[1], &writing) && writing.count > 0) {
    if (visit_netns(netns_fd, write_settings, &writing, &why)) why = writing.why;
    napi_value error = why.error == 0 ? NULL : make_writing_failure(env, &why, &writing);
    if (error != NULL) napi_throw(env, error);
  }
  free(writing.settings);
  return NULL;
}
