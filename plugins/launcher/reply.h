/* What ipamd answers: one HTTP/1.1 response whose length is told. Pure: bytes in, a judgement out. */
#ifndef TULLE_REPLY_H
#define TULLE_REPLY_H

#include <stddef.h>

/* The longest head that is read: ipamd's own has some 200 bytes. */
#define MAX_REPLY_HEAD_BYTES 4096
/* The longest reason for declining that is passed on. */
#define MAX_REASON_BYTES 32

enum judgement {
  REPLY_IS_SHORT,   /* so far so good: more has to come */
  REPLY_IS_BROKEN,  /* no more bytes can make it an answer */
  REPLY_IS_OUTCOME, /* ipamd has done it: `body` is for standard output */
  REPLY_DECLINES,   /* ipamd has not done it, and has changed nothing */
};

struct reply {
  const char *body;
  size_t body_length;
  int exit_code;
  /* Lower case letters and hyphens. */
  char reason[MAX_REASON_BYTES + 1];
};

/* Judges the first `length` bytes of a response. Fills in `reply` for REPLY_IS_OUTCOME and REPLY_DECLINES. */
enum judgement judge_reply(const char *bytes, size_t length, struct reply *reply);

#endif
