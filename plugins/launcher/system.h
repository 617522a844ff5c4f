/* The kernel's interface, without a C library: what the launcher uses of it, on x86-64 and arm64 Linux. */
#ifndef TULLE_SYSTEM_H
#define TULLE_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined __x86_64__
enum syscall_number {
  SYS_read = 0,
  SYS_write = 1,
  SYS_close = 3,
  SYS_pwrite64 = 18,
  SYS_socket = 41,
  SYS_connect = 42,
  SYS_sendto = 44,
  SYS_setsockopt = 54,
  SYS_execve = 59,
  SYS_clock_gettime = 228,
  SYS_exit_group = 231,
  SYS_readlinkat = 267,
  SYS_ppoll = 271,
  SYS_dup3 = 292,
  SYS_memfd_create = 319,
  SYS_statx = 332,
};
#elif defined __aarch64__
enum syscall_number {
  SYS_dup3 = 24,
  SYS_close = 57,
  SYS_read = 63,
  SYS_write = 64,
  SYS_pwrite64 = 68,
  SYS_ppoll = 73,
  SYS_readlinkat = 78,
  SYS_exit_group = 94,
  SYS_clock_gettime = 113,
  SYS_socket = 198,
  SYS_connect = 203,
  SYS_sendto = 206,
  SYS_setsockopt = 208,
  SYS_execve = 221,
  SYS_memfd_create = 279,
  SYS_statx = 291,
};
#else
#error "Tulle is built for x86-64 and arm64"
#endif

/* Makes one system call. Returns what the kernel returns: a negative errno on failure. */
static inline long call_kernel(enum syscall_number number, long a, long b, long c, long d, long e, long f) {
#if defined __x86_64__
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"((long)number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
#else
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  register long x5 __asm__("x5") = f;
  __asm__ volatile("svc 0"
                   : "+r"(x0)
                   : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                   : "memory", "cc");
  return x0;
#endif
}

#define KERNEL(number, a, b, c, d, e, f) \
  call_kernel(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* errno(3), as far as it decides something. */
enum { EINTR = 4, EAGAIN = 11 };

enum { STDIN = 0, STDOUT = 1 };
enum { AT_FDCWD = -100 };
enum { CLOCK_REALTIME = 0, CLOCK_MONOTONIC = 1 };
enum { AF_UNIX = 1, SOCK_STREAM = 1, SOCK_CLOEXEC = 02000000, SOL_SOCKET = 1, SO_SNDTIMEO = 21 };
enum { MSG_DONTWAIT = 0x40, MSG_NOSIGNAL = 0x4000 };
enum { POLLIN = 1, POLLOUT = 4 };
enum { MFD_CLOEXEC = 1 };
enum { AT_NO_AUTOMOUNT = 0x800, STATX_TYPE = 1, STATX_MTIME = 0x40, STATX_INO = 0x100 };

struct timespec {
  int64_t seconds;
  int64_t nanoseconds;
};

struct timeval {
  int64_t seconds;
  int64_t microseconds;
};

struct pollfd {
  int fd;
  int16_t events;
  int16_t revents;
};

struct sockaddr_un {
  uint16_t family;
  char path[108];
};

/* struct statx of linux/stat.h: the same on every architecture, unlike struct stat. */
struct statx {
  uint32_t mask;
  uint32_t unused_1[7];
  uint64_t inode;
  uint64_t unused_2[9];
  int64_t modified_seconds;
  uint32_t unused_3[4];
  uint32_t device_major;
  uint32_t device_minor;
  uint64_t unused_4[14];
};

_Static_assert(sizeof(struct statx) == 256, "the size of struct statx in linux/stat.h");
_Static_assert(offsetof(struct statx, inode) == 32, "the place of stx_ino in linux/stat.h");
_Static_assert(offsetof(struct statx, modified_seconds) == 112, "the place of stx_mtime in linux/stat.h");
_Static_assert(offsetof(struct statx, device_major) == 136, "the place of stx_dev_major in linux/stat.h");

#endif
