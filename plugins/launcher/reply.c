#include "reply.h"

#include <stdint.h>

#include "text.h"

#define STATUS_LINE "HTTP/1.1 "
#define STATUS_LINE_BYTES (sizeof STATUS_LINE - 1)
#define UNKNOWN SIZE_MAX

/* What of a head decides. */
struct head {
  size_t length; /* with the empty line that ends it */
  size_t status;
  size_t content_length; /* UNKNOWN when no header says it */
  size_t exit_code;      /* UNKNOWN when no header says it */
  struct reply *reply;
};

static size_t find_end_of_head(const char *bytes, size_t length) {
  const size_t last = length < MAX_REPLY_HEAD_BYTES ? length : MAX_REPLY_HEAD_BYTES;
  for (size_t i = 0; i + 4 <= last; i++) {
    if (bytes[i] == '\r' && bytes[i + 1] == '\n' && bytes[i + 2] == '\r' && bytes[i + 3] == '\n') return i + 4;
  }
  return 0;
}

/* The decimal number that is all of `length` bytes; UNKNOWN when it is none, or has more than nine digits. */
static size_t read_number(const char *bytes, size_t length) {
  size_t number = 0;
  if (length == 0 || length > 9) return UNKNOWN;
  for (size_t i = 0; i < length; i++) {
    if (bytes[i] < '0' || bytes[i] > '9') return UNKNOWN;
    number = number * 10 + (size_t)(bytes[i] - '0');
  }
  return number;
}

static bool is_named(const char *line, size_t length, const char *name) {
  for (size_t i = 0; name[i] != '\0'; i++) {
    if (i >= length) return false;
    const char lower = line[i] >= 'A' && line[i] <= 'Z' ? (char)(line[i] | 0x20) : line[i];
    if (lower != name[i]) return false;
  }
  return true;
}

/* A reason that is not made of what reasons are made of stays unsaid. */
static void keep_reason(struct reply *reply, const char *value, size_t length) {
  if (length > MAX_REASON_BYTES) return;
  for (size_t i = 0; i < length; i++) {
    if ((value[i] < 'a' || value[i] > 'z') && value[i] != '-') return;
  }
  for (size_t i = 0; i < length; i++) reply->reason[i] = value[i];
  reply->reason[length] = '\0';
}

/* False when a header that decides is there twice, or is no number: then nobody can tell what was meant. */
static bool keep_number(size_t *number, const char *value, size_t length) {
  if (*number != UNKNOWN) return false;
  *number = read_number(value, length);
  return *number != UNKNOWN;
}

static bool read_header(struct head *head, const char *line, size_t length) {
  static const char content_length[] = "content-length:";
  static const char exit_code[] = "tulle-exit-code:";
  static const char decline[] = "tulle-decline:";
  static const char transfer_encoding[] = "transfer-encoding:";
  size_t at = 0;
  while (at < length && line[at] != ':') at++;
  if (at == length) return false;
  at++;
  while (at < length && line[at] == ' ') at++;
  const char *value = line + at;
  if (is_named(line, length, content_length)) return keep_number(&head->content_length, value, length - at);
  if (is_named(line, length, exit_code)) return keep_number(&head->exit_code, value, length - at);
  if (is_named(line, length, decline)) keep_reason(head->reply, value, length - at);
  return !is_named(line, length, transfer_encoding);
}

static bool read_head(struct head *head, const char *bytes) {
  if (head->length < STATUS_LINE_BYTES + 3 + 4) return false;
  if (!is_equal(bytes, STATUS_LINE_BYTES, STATUS_LINE)) return false;
  head->status = read_number(bytes + STATUS_LINE_BYTES, 3);
  if (head->status == UNKNOWN) return false;
  const size_t end = head->length - 2;
  size_t at = STATUS_LINE_BYTES + 3;
  while (bytes[at] != '\n') at++;
  for (at++; at < end;) {
    size_t length = 0;
    while (bytes[at + length] != '\r' && bytes[at + length] != '\n') length++;
    if (bytes[at + length] != '\r' || bytes[at + length + 1] != '\n') return false;
    if (!read_header(head, bytes + at, length)) return false;
    at += length + 2;
  }
  return true;
}

enum judgement judge_reply(const char *bytes, size_t length, struct reply *reply) {
  struct head head = {.content_length = UNKNOWN, .exit_code = UNKNOWN, .reply = reply};
  reply->reason[0] = '\0';
  head.length = find_end_of_head(bytes, length);
  if (head.length == 0) return length < MAX_REPLY_HEAD_BYTES ? REPLY_IS_SHORT : REPLY_IS_BROKEN;
  if (!read_head(&head, bytes) || head.content_length == UNKNOWN) return REPLY_IS_BROKEN;
  const size_t has = length - head.length;
  if (has < head.content_length) return REPLY_IS_SHORT;
  if (has > head.content_length) return REPLY_IS_BROKEN;
  if (head.status != 200) return REPLY_DECLINES;
  if (head.exit_code > 255) return REPLY_IS_BROKEN;
  reply->exit_code = (int)head.exit_code;
  reply->body = bytes + head.length;
  reply->body_length = head.content_length;
  return REPLY_IS_OUTCOME;
}
