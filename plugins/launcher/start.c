/* Where the kernel starts the launcher, and what the compiler takes for granted. */
#include <stddef.h>
#include <stdint.h>

#if defined __x86_64__
__asm__(
    ".globl _start\n"
    ".type _start, @function\n"
    "_start:\n"
    "  endbr64\n"
    "  xor %ebp, %ebp\n"
    "  mov %rsp, %rdi\n"
    "  and $-16, %rsp\n"
    "  call launch\n"
    "  hlt\n");
#else
__asm__(
    ".globl _start\n"
    ".type _start, %function\n"
    "_start:\n"
    "  hint #34\n" /* bti c */
    "  mov x29, #0\n"
    "  mov x30, #0\n"
    "  adrp x2, __stack_chk_guard\n"
    "  add x2, x2, :lo12:__stack_chk_guard\n"
    "  msr tpidr_el0, x2\n" /* build.ts: the guard of the stack is where this leads */
    "  mov x0, sp\n"
    "  and x1, x0, #-16\n"
    "  mov sp, x1\n"
    "  bl launch\n"
    "  brk #1\n");
#endif

/* What the compiler puts between a buffer and a return address, and compares before it returns. */
uintptr_t __stack_chk_guard;

_Noreturn void __stack_chk_fail(void) {
  for (;;) __builtin_trap();
}

/*
 * Another guard in each process: AT_RANDOM of the auxiliary vector, which comes after the environment, points to 16 random
 * bytes. The first stays 0, so that no text runs over the guard.
 */
__attribute__((no_stack_protector)) void seed_guard(char **environment) {
  enum { AT_NULL = 0, AT_RANDOM = 25 };
  while (*environment != NULL) environment++;
  for (const uintptr_t *entry = (const uintptr_t *)(environment + 1); entry[0] != AT_NULL; entry += 2) {
    if (entry[0] == AT_RANDOM) __stack_chk_guard = *(const uintptr_t *)entry[1] & ~(uintptr_t)0xff;
  }
}

/* GCC calls these for structures that are copied or cleared, with or without a C library. */
void *memcpy(void *to, const void *from, size_t length) {
  uint8_t *target = to;
  const uint8_t *source = from;
  for (size_t i = 0; i < length; i++) target[i] = source[i];
  return to;
}

void *memset(void *to, int value, size_t length) {
  uint8_t *target = to;
  for (size_t i = 0; i < length; i++) target[i] = (uint8_t)value;
  return to;
}
