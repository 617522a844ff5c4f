#define _GNU_SOURCE
#include "functions.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* An opened namespace, or what was found in its place: a system call's failure, or a file that is something else. */
struct netns {
  int fd;
  struct stat status;
  struct failure why;
  const char *is_instead; /* NULL, or "a directory" */
};

static const char *kind_of_file(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return "a regular file";
    case S_IFDIR: return "a directory";
    case S_IFIFO: return "a FIFO";
    case S_IFSOCK: return "a socket";
    case S_IFCHR: return "a character device";
    case S_IFBLK: return "a block device";
    default: return "some other file";
  }
}

static const char *kind_of_namespace(int type) {
  switch (type) {
    case CLONE_NEWNS: return "a mount namespace";
    case CLONE_NEWUTS: return "a UTS namespace";
    case CLONE_NEWIPC: return "an IPC namespace";
    case CLONE_NEWUSER: return "a user namespace";
    case CLONE_NEWPID: return "a PID namespace";
    case CLONE_NEWCGROUP: return "a cgroup namespace";
    default: return "a namespace of another kind";
  }
}

static void fail(struct netns *netns, const char *syscall) {
  netns->why = (struct failure){errno, syscall};
}

static void refuse(struct netns *netns, const char *syscall, const char *is_instead) {
  /* EINVAL is what setns(2) would say. */
  netns->why = (struct failure){EINVAL, syscall};
  netns->is_instead = is_instead;
}

/* Turns an O_PATH descriptor of a namespace into one that setns(2) takes. */
static void reopen(struct netns *netns, int seen) {
  char link[32];
  snprintf(link, sizeof link, "/proc/self/fd/%d", seen);
  do netns->fd = open(link, O_RDONLY | O_CLOEXEC);
  while (netns->fd < 0 && errno == EINTR);
  if (netns->fd < 0) return fail(netns, "openat");
  const int type = ioctl(netns->fd, NS_GET_NSTYPE);
  if (type < 0) fail(netns, "ioctl");
  else if (type != CLONE_NEWNET) refuse(netns, "ioctl", kind_of_namespace(type));
  else if (fstat(netns->fd, &netns->status) != 0) fail(netns, "fstat");
  if (netns->why.error == 0) return;
  close(netns->fd);
  netns->fd = -1;
}

/*
 * O_PATH looks without opening: a FIFO cannot block us, a device does not notice, and what is checked is what is
 * reopened.
 */
static void open_checked(const char *path, struct netns *netns) {
  struct statfs file_system;
  int seen;
  do seen = open(path, O_PATH | O_CLOEXEC);
  while (seen < 0 && errno == EINTR);
  if (seen < 0) return fail(netns, "openat");
  if (fstatfs(seen, &file_system) != 0) fail(netns, "fstatfs");
  else if (file_system.f_type == NSFS_MAGIC) reopen(netns, seen);
  else if (fstat(seen, &netns->status) != 0) fail(netns, "fstat");
  else refuse(netns, "fstatfs", kind_of_file(netns->status.st_mode));
  close(seen);
}

static napi_value make_handle(napi_env env, const struct netns *netns) {
  napi_value handle, fd, device, inode;
  TRY(env, napi_create_object(env, &handle));
  TRY(env, napi_create_int32(env, netns->fd, &fd));
  TRY(env, napi_create_bigint_uint64(env, netns->status.st_dev, &device));
  TRY(env, napi_create_bigint_uint64(env, netns->status.st_ino, &inode));
  TRY(env, napi_set_named_property(env, handle, "fd", fd));
  TRY(env, napi_set_named_property(env, handle, "device", device));
  TRY(env, napi_set_named_property(env, handle, "inode", inode));
  return handle;
}

static napi_value open_or_throw(napi_env env, const char *path) {
  struct netns netns = {.fd = -1};
  open_checked(path, &netns);
  if (netns.is_instead != NULL) {
    char message[PATH_MAX + 128];
    snprintf(message, sizeof message, "%s is %s: want a network namespace", path, netns.is_instead);
    return throw_system_error(env, "ENOTNETNS", &netns.why, message);
  }
  if (netns.why.error != 0) return throw_failure(env, &netns.why, path);
  napi_value handle = make_handle(env, &netns);
  if (handle == NULL) close(netns.fd);
  return handle;
}

napi_value open_netns(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  char path[PATH_MAX];
  if (!read_arguments(env, info, 1, arguments)) return NULL;
  if (!read_text(env, arguments[0], "path", path, sizeof path)) return NULL;
  return open_or_throw(env, path);
}

napi_value open_own_netns(napi_env env, napi_callback_info info) {
  (void)info;
  return open_or_throw(env, "/proc/thread-self/ns/net");
}
