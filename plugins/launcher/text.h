/* Text in fixed memory: nothing here allocates, and nothing writes past a limit. */
#ifndef TULLE_TEXT_H
#define TULLE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that are written one after another. Once `is_full`, it takes no more, and its content is not to be used. */
struct text {
  char *bytes;
  size_t length;
  size_t capacity;
  bool is_full;
};

void put_bytes(struct text *text, const char *bytes, size_t length);
void put_string(struct text *text, const char *string);
void put_number(struct text *text, uint64_t number);

size_t length_of(const char *string);
bool is_equal(const char *bytes, size_t length, const char *string);
bool begins_with(const char *string, const char *prefix);

#endif
