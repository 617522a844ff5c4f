#include "request.h"

#define NS_PER_MS 1000000

/* True for what a CNI plugin is told by its environment, and for trace context. `PATH` is where plugins find programs. */
static bool is_passed_on(const char *variable) {
  return begins_with(variable, "CNI_") || begins_with(variable, "PATH=") || begins_with(variable, "TRACEPARENT=") ||
         begins_with(variable, "TRACESTATE=") || begins_with(variable, "BAGGAGE=");
}

/* A name has to be a token (RFC 9110, section 5.6.2); ours are letters, digits and underscores. */
static bool is_name(const char *name, size_t length) {
  for (size_t i = 0; i < length; i++) {
    const char c = name[i];
    const bool is_letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (!is_letter && !(c >= '0' && c <= '9') && c != '_') return false;
  }
  return length > 0;
}

/*
 * A value must come out of HTTP as it went in: no control character, of which CR and LF would end the header, and no
 * space at either end, which a reader of headers takes away.
 */
static bool is_value(const char *value) {
  const size_t length = length_of(value);
  for (size_t i = 0; i < length; i++) {
    if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f) return false;
  }
  return length == 0 || (value[0] != ' ' && value[length - 1] != ' ');
}

/* Names differ in HTTP by more than case, and each is there once: two would be joined. */
static bool is_named_before(char **environment, char **end, const char *variable, size_t length) {
  for (; environment != end; environment++) {
    size_t i = 0;
    while (i < length && ((*environment)[i] | 0x20) == (variable[i] | 0x20)) i++;
    if (i == length && (*environment)[length] == '=') return true;
  }
  return false;
}

static bool write_environment(struct text *head, char **environment) {
  for (char **variable = environment; *variable != NULL; variable++) {
    size_t length = 0;
    if (!is_passed_on(*variable)) continue;
    while ((*variable)[length] != '=' && (*variable)[length] != '\0') length++;
    if ((*variable)[length] == '\0') return false;
    const char *value = *variable + length + 1;
    if (!is_name(*variable, length) || !is_value(value)) return false;
    if (is_named_before(environment, variable, *variable, length)) return false;
    put_string(head, "Env-");
    put_bytes(head, *variable, length);
    put_string(head, ": ");
    put_string(head, value);
    put_string(head, "\r\n");
  }
  return true;
}

static void write_identity(struct text *head, const char *name, const struct identity *identity) {
  if (!identity->is_known) return;
  put_string(head, name);
  put_number(head, identity->device);
  put_string(head, ":");
  put_number(head, identity->inode);
  put_string(head, "\r\n");
}

bool write_head(struct text *head, char **environment, const struct circumstances *circumstances) {
  put_string(head, "POST /v1/cni HTTP/1.1\r\nHost: ipamd\r\nConnection: close\r\nContent-Type: application/json\r\n");
  if (!write_environment(head, environment)) return false;
  put_string(head, "Tulle-Deadline: ");
  put_number(head, (uint64_t)circumstances->deadline_ns / NS_PER_MS);
  put_string(head, "\r\n");
  write_identity(head, "Tulle-Host-Netns: ", &circumstances->host_netns);
  write_identity(head, "Tulle-Pod-Netns: ", &circumstances->pod_netns);
  write_identity(head, "Tulle-Run-Folder: ", &circumstances->run_folder);
  put_string(head, "Content-Length: ");
  put_number(head, circumstances->body_length);
  put_string(head, "\r\n\r\n");
  return !head->is_full;
}
