/*
 * Throws changed replies and random environments at the two pure parts of the launcher, and checks what must always hold.
 * Built with the sanitizers of the compiler, which see every byte that is read or written where none is.
 *
 *   fuzz SEED ROUNDS
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../reply.h"
#include "../request.h"

static uint64_t state;

static uint32_t below(uint32_t end) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)(state >> 32) % end;
}

static void must(bool holds, const char *what, const char *bytes, size_t length) {
  if (holds) return;
  fprintf(stderr, "%s; the bytes:\n", what);
  fwrite(bytes, 1, length, stderr);
  abort();
}

/* In memory of exactly this size, so that a sanitizer sees the first byte too many. */
static char *exact(const char *bytes, size_t length) {
  char *copy = malloc(length == 0 ? 1 : length);
  if (copy == NULL) abort();
  memcpy(copy, bytes, length);
  return copy;
}

static enum judgement judge(const char *bytes, size_t length, struct reply *reply) {
  char *copy = exact(bytes, length);
  const enum judgement judgement = judge_reply(copy, length, reply);
  if (judgement == REPLY_IS_OUTCOME) {
    must(reply->body >= copy && reply->body + reply->body_length == copy + length, "the body is not the end", bytes, length);
    must(reply->exit_code >= 0 && reply->exit_code <= 255, "the exit code is none", bytes, length);
  }
  if (judgement == REPLY_DECLINES) must(strlen(reply->reason) <= MAX_REASON_BYTES, "the reason is too long", bytes, length);
  free(copy);
  return judgement;
}

static const char *const SEEDS[] = {
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\ntulle-exit-code: 0\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\nContent-Length:0\r\nTulle-Exit-Code:1\r\nDate: Thu\r\n\r\n",
    "HTTP/1.1 421 Misdirected Request\r\ntulle-decline: other-namespace\r\ncontent-length: 4\r\n\r\nnull",
    "HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n",
};

/* Characters that mean something here more often than others. */
static char some_byte(void) {
  static const char special[] = "\r\n: 0123456789-aAzZ\0\x7f\xff";
  return below(3) == 0 ? (char)below(256) : special[below(sizeof special - 1)];
}

static void fuzz_reply(void) {
  char bytes[512];
  struct reply reply;
  const char *seed = SEEDS[below(sizeof SEEDS / sizeof *SEEDS)];
  size_t length = strlen(seed);
  memcpy(bytes, seed, length);
  for (uint32_t changes = below(4); changes > 0; changes--) {
    const size_t at = below((uint32_t)length + 1);
    switch (below(3)) {
      case 0:
        if (at < length) bytes[at] = some_byte();
        break;
      case 1:
        memmove(bytes + at + 1, bytes + at, length - at);
        bytes[at] = some_byte();
        length++;
        break;
      default:
        if (at < length) memmove(bytes + at, bytes + at + 1, --length - at);
    }
  }
  const enum judgement whole = judge(bytes, length, &reply);
  bool was_final = false;
  for (size_t prefix = 0; prefix < length; prefix++) {
    const enum judgement part = judge(bytes, prefix, &reply);
    if (was_final) must(part == REPLY_IS_BROKEN, "what is more than a reply is one", bytes, prefix);
    if (part != REPLY_IS_SHORT) was_final = true;
    if (whole == REPLY_IS_OUTCOME || whole == REPLY_DECLINES)
      must(part == REPLY_IS_SHORT, "a part of a reply is one", bytes, prefix);
  }
}

/* The lines of a head that begin with `Env-`, and whether every line is `NAME: VALUE`. */
static size_t variables_in(const char *bytes, size_t length) {
  size_t count = 0;
  for (size_t at = 0; at + 2 < length;) {
    const char *end = memchr(bytes + at, '\r', length - at);
    must(end != NULL && end[1] == '\n', "a line has no end", bytes, length);
    const size_t line = (size_t)(end - bytes) - at;
    must(memchr(bytes + at, '\n', line) == NULL && memchr(bytes + at, '\0', line) == NULL, "a line is two", bytes, length);
    if (at > 0 && line > 0) must(memchr(bytes + at, ':', line) != NULL, "a line is no header", bytes, length);
    if (line > 4 && memcmp(bytes + at, "Env-", 4) == 0) count++;
    at += line + 2;
  }
  return count;
}

static void fuzz_request(void) {
  static const char *const names[] = {"CNI_COMMAND", "CNI_ARGS", "PATH", "TRACEPARENT", "HOME", "CNI_", "CNI_x:y", "LD_PRELOAD"};
  char *environment[6] = {NULL};
  size_t passed_on = 0;
  const uint32_t count = below(6);
  for (uint32_t i = 0; i < count; i++) {
    const char *name = names[below(sizeof names / sizeof *names)];
    char variable[64];
    size_t length = (size_t)snprintf(variable, sizeof variable, "%s=", name);
    for (uint32_t more = below(12); more > 0; more--) variable[length++] = below(4) == 0 ? some_byte() : (char)('a' + below(26));
    variable[length] = '\0';
    environment[i] = exact(variable, strlen(variable) + 1);
    if (strncmp(name, "CNI_", 4) == 0 || strcmp(name, "PATH") == 0 || strcmp(name, "TRACEPARENT") == 0) passed_on++;
  }
  const size_t capacity = below(2) == 0 ? below(600) : 4096;
  char *bytes = exact("", 0);
  bytes = realloc(bytes, capacity == 0 ? 1 : capacity);
  struct text head = {.bytes = bytes, .capacity = capacity};
  const struct circumstances circumstances = {
      .deadline_ns = (int64_t)(state >> 2),
      .pod_netns = {.is_known = below(2) == 0, .device = state, .inode = ~state},
      .body_length = below(1024),
  };
  if (write_head(&head, environment, &circumstances))
    must(variables_in(bytes, head.length) == passed_on, "not every variable has its line", bytes, head.length);
  must(head.length <= capacity, "more was written than fits", bytes, 0);
  free(bytes);
  for (uint32_t i = 0; i < count; i++) free(environment[i]);
}

int main(int count, char **arguments) {
  if (count != 3) return 2;
  state = strtoull(arguments[1], NULL, 10) * 2654435769u + 1;
  for (unsigned long round = strtoul(arguments[2], NULL, 10); round > 0; round--) {
    fuzz_reply();
    fuzz_request();
  }
  return 0;
}
