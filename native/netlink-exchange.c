#define _GNU_SOURCE
#include "netlink-exchange.h"

#include <errno.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "poll.h"

/* The kernel fills each datagram of a dump up to what the reader offers, and offers no more than this itself. */
#define DATAGRAM_BYTES ((size_t)32 * 1024)
#define MAX_ANSWER_BYTES ((size_t)64 * 1024 * 1024)

const char *check_request(struct request *request) {
  size_t at = 0;
  bool has_last = false;
  const uint32_t wanted = request->last_seq;
  while (at < request->length) {
    struct nlmsghdr header;
    if (request->length - at < sizeof header) return "a header is cut short";
    memcpy(&header, request->bytes + at, sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > request->length - at) return "a length does not fit";
    if (at == 0) {
      request->first_seq = header.nlmsg_seq;
      request->first_is_silent = (header.nlmsg_flags & NLM_F_ACK) == 0;
    }
    has_last = has_last || header.nlmsg_seq == wanted;
    /* The end of the last message may be unaligned. */
    at += NLMSG_ALIGN((size_t)header.nlmsg_len);
  }
  if (at == 0) return "it is empty";
  return has_last ? NULL : "no message has the sequence number lastSeq";
}

static bool fail(struct answer *answer, int error, const char *syscall) {
  answer->why = (struct failure){error, syscall};
  return false;
}

/* Makes room for one more datagram of `length` bytes, with a spare word for alignment. */
static bool reserve(struct answer *answer, size_t length) {
  const size_t needed = answer->length + length + NLMSG_ALIGNTO;
  if (needed <= answer->capacity) return true;
  const size_t capacity = needed > 2 * answer->capacity ? needed : 2 * answer->capacity;
  uint8_t *const grown = realloc(answer->bytes, capacity);
  if (grown == NULL) return fail(answer, ENOMEM, "realloc");
  answer->bytes = grown;
  answer->capacity = capacity;
  return true;
}

static bool find_port(int fd, uint32_t *port, struct answer *answer) {
  struct sockaddr_nl own;
  socklen_t length = sizeof own;
  memset(&own, 0, sizeof own);
  if (getsockname(fd, (struct sockaddr *)&own, &length) != 0) return fail(answer, errno, "getsockname");
  if (own.nl_family != AF_NETLINK) return fail(answer, EAFNOSUPPORT, "getsockname");
  /* Unbound: answers could not be told from other people's. */
  if (own.nl_pid == 0) return fail(answer, EINVAL, "getsockname");
  *port = own.nl_pid;
  return true;
}

/*
 * Reads away what an exchange that timed out left behind: its answers, an ENOBUFS that was meant for it, and the rest
 * of its dump (the kernel begins no second dump on a socket before the first was read to its end: EBUSY).
 */
static void discard_stale(int fd, int64_t deadline_ns) {
  while (now_ns() < deadline_ns) {
    if (recv(fd, NULL, 0, MSG_DONTWAIT | MSG_TRUNC) >= 0) continue;
    if (errno != EINTR && errno != ENOBUFS) return;
  }
}

static bool send_request(const struct request *request, struct answer *answer) {
  const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  ssize_t count;
  do {
    /* Nothing begins after its deadline, however long the thread pool kept it waiting. */
    if (now_ns() >= request->deadline_ns) return fail(answer, ETIMEDOUT, "sendto");
    count = sendto(request->socket_fd, request->bytes, request->length, 0, (const struct sockaddr *)&kernel,
                   sizeof kernel);
  } while (count < 0 && errno == EINTR);
  if (count < 0) return fail(answer, errno, "sendto");
  answer->sent = true;
  return true;
}

/* Waits for a datagram and tells its size without taking it. */
static bool size_of_next(const struct request *request, struct answer *answer, size_t *length) {
  for (;;) {
    const ssize_t size = recv(request->socket_fd, NULL, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
    if (size >= 0) {
      *length = (size_t)size;
      return true;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return fail(answer, errno, "recvfrom");
    const enum readiness readiness = poll_readable(request->socket_fd, request->deadline_ns);
    if (readiness == POLL_FAILED) return fail(answer, errno, "poll");
    if (readiness == TIMED_OUT) return fail(answer, ETIMEDOUT, "poll");
  }
}

/*
 * Appends the next datagram behind answer->length without counting it yet. `*length` is 0 when it is not the kernel's.
 */
static bool receive(const struct request *request, struct answer *answer, size_t *length) {
  struct sockaddr_nl sender;
  socklen_t sender_length = sizeof sender;
  memset(&sender, 0, sizeof sender);
  if (!size_of_next(request, answer, length)) return false;
  if (answer->length + *length > MAX_ANSWER_BYTES) return fail(answer, EMSGSIZE, "recvfrom");
  const size_t space = *length > DATAGRAM_BYTES ? *length : DATAGRAM_BYTES;
  if (!reserve(answer, space)) return false;
  const ssize_t count = recvfrom(request->socket_fd, answer->bytes + answer->length, space, MSG_TRUNC | MSG_DONTWAIT,
                                 (struct sockaddr *)&sender, &sender_length);
  *length = 0;
  if (count < 0 && (errno == EINTR || errno == EAGAIN)) return true;
  if (count < 0) return fail(answer, errno, "recvfrom");
  if ((size_t)count > space) return fail(answer, EMSGSIZE, "recvfrom");
  /* Whoever has CAP_NET_ADMIN may write to our port; only the kernel has port 0. */
  if (sender.nl_pid == 0) *length = (size_t)count;
  return true;
}

static bool ends_answer(const struct request *request, const struct nlmsghdr *header) {
  const bool is_error = header->nlmsg_type == NLMSG_ERROR;
  if (is_error && request->first_is_silent && header->nlmsg_seq == request->first_seq) return true;
  return (is_error || header->nlmsg_type == NLMSG_DONE) && header->nlmsg_seq == request->last_seq;
}

/* Sequence numbers wrap round: "within" is measured from the first one. */
static bool is_ours(const struct request *request, uint32_t port, const struct nlmsghdr *header) {
  return header->nlmsg_pid == port &&
         header->nlmsg_seq - request->first_seq <= request->last_seq - request->first_seq;
}

/*
 * Keeps our messages of a datagram of `length` bytes that lies at answer->length, moved together. Sets `*ended` at the
 * message that ends the answer.
 */
static bool keep_ours(const struct request *request, uint32_t port, struct answer *answer, size_t length, bool *ended) {
  const size_t end = answer->length + length;
  size_t at = answer->length;
  while (at < end) {
    struct nlmsghdr header;
    if (end - at < sizeof header) return fail(answer, EBADMSG, "recvfrom");
    memcpy(&header, answer->bytes + at, sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > end - at) return fail(answer, EBADMSG, "recvfrom");
    const size_t aligned = NLMSG_ALIGN((size_t)header.nlmsg_len);
    if (is_ours(request, port, &header)) {
      memmove(answer->bytes + answer->length, answer->bytes + at, header.nlmsg_len);
      memset(answer->bytes + answer->length + header.nlmsg_len, 0, aligned - header.nlmsg_len);
      answer->length += aligned;
      *ended = *ended || ends_answer(request, &header);
    }
    at += aligned;
  }
  return true;
}

void exchange(const struct request *request, struct answer *answer) {
  uint32_t port;
  bool ended = false;
  if (!find_port(request->socket_fd, &port, answer)) return;
  /* Before the request is sent: running out of memory later would leave its outcome unknown. */
  if (!reserve(answer, DATAGRAM_BYTES)) return;
  discard_stale(request->socket_fd, request->deadline_ns);
  if (!send_request(request, answer)) return;
  while (!ended) {
    size_t length;
    if (!receive(request, answer, &length)) return;
    if (!keep_ours(request, port, answer, length, &ended)) return;
    /* Without this, foreign datagrams that never stop coming would keep us past the deadline. */
    if (!ended && now_ns() >= request->deadline_ns) {
      fail(answer, ETIMEDOUT, "recvfrom");
      return;
    }
  }
}

bool is_refused(const struct answer *answer) {
  for (size_t at = 0; answer->length - at >= sizeof(struct nlmsghdr);) {
    struct nlmsghdr header;
    int32_t error = 0;
    memcpy(&header, answer->bytes + at, sizeof header);
    /* keep_ours() has seen that the lengths fit. */
    if (header.nlmsg_len >= sizeof header + sizeof error) memcpy(&error, answer->bytes + at + sizeof header, sizeof error);
    if ((header.nlmsg_type == NLMSG_ERROR || header.nlmsg_type == NLMSG_DONE) && error < 0) return true;
    at += NLMSG_ALIGN((size_t)header.nlmsg_len);
  }
  return false;
}
