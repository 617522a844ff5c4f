#include "text.h"

void put_bytes(struct text *text, const char *bytes, size_t length) {
  if (text->is_full || length > text->capacity - text->length) {
    text->is_full = true;
    return;
  }
  for (size_t i = 0; i < length; i++) text->bytes[text->length + i] = bytes[i];
  text->length += length;
}

void put_string(struct text *text, const char *string) {
  put_bytes(text, string, length_of(string));
}

void put_number(struct text *text, uint64_t number) {
  char digits[20];
  size_t first = sizeof digits;
  do digits[--first] = (char)('0' + number % 10);
  while ((number /= 10) != 0);
  put_bytes(text, digits + first, sizeof digits - first);
}

size_t length_of(const char *string) {
  size_t length = 0;
  while (string[length] != '\0') length++;
  return length;
}

bool is_equal(const char *bytes, size_t length, const char *string) {
  for (size_t i = 0; i < length; i++) {
    if (string[i] == '\0' || bytes[i] != string[i]) return false;
  }
  return string[length] == '\0';
}

bool begins_with(const char *string, const char *prefix) {
  for (; *prefix != '\0'; string++, prefix++) {
    if (*string != *prefix) return false;
  }
  return true;
}
