/*
 * How soon a byte comes back over TCP, and how often in a second.
 *
 *   round-trips serve ADDRESS PORT          answers every byte by a byte, on one connection after another, until it is killed
 *   round-trips ask ADDRESS PORT SECONDS    prints one JSON object: round trips a second, and p50, p90, p99 in microseconds
 *
 * The first fifth of the time is not counted: neighbours, flows and processors warm up. Connections have TCP_NODELAY.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_ROUNDS = 8 << 20, WAIT_SECONDS = 5 };

static void fail(const char *what) {
  fprintf(stderr, "round-trips: %s: %s\n", what, strerror(errno));
  exit(2);
}

static double now_us(void) {
  struct timespec at;
  if (clock_gettime(CLOCK_MONOTONIC, &at)) fail("clock_gettime");
  return (double)at.tv_sec * 1e6 + (double)at.tv_nsec / 1e3;
}

static struct addrinfo *address_of(const char *address, const char *port) {
  struct addrinfo *found, wanted = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
  if (getaddrinfo(address, port, &wanted, &found)) fail(address);
  return found;
}

static void prepare(int socket) {
  struct timeval wait = {.tv_sec = WAIT_SECONDS};
  int on = 1;
  if (setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on)) fail("TCP_NODELAY");
  if (setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait)) fail("SO_RCVTIMEO");
}

static void serve(const struct addrinfo *at) {
  int on = 1, listener = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on)) fail("socket");
  if (bind(listener, at->ai_addr, at->ai_addrlen) || listen(listener, 8)) fail("bind");
  for (;;) {
    int client = accept(listener, NULL, NULL);
    char byte;
    if (client < 0) fail("accept");
    prepare(client);
    while (read(client, &byte, 1) == 1 && write(client, &byte, 1) == 1) continue;
    close(client);
  }
}

static int by_size(const void *one, const void *other) {
  float a = *(const float *)one, b = *(const float *)other;
  return (a > b) - (a < b);
}

static void ask(const struct addrinfo *at, double seconds) {
  float *took_us = malloc(MAX_ROUNDS * sizeof *took_us);
  int client = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  size_t rounds = 0;
  char byte = 'x';
  if (!took_us || client < 0 || connect(client, at->ai_addr, at->ai_addrlen)) fail("connect");
  prepare(client);
  double began_us = now_us(), counted_from_us = began_us + seconds * 2e5, end_us = began_us + seconds * 1e6, sent_us;
  while ((sent_us = now_us()) < end_us && rounds < MAX_ROUNDS) {
    if (write(client, &byte, 1) != 1 || read(client, &byte, 1) != 1) fail("round trip");
    if (sent_us >= counted_from_us) took_us[rounds++] = (float)(now_us() - sent_us);
  }
  if (rounds == 0) fail("no round trip");
  double per_second = (double)rounds / ((now_us() - counted_from_us) / 1e6);
  qsort(took_us, rounds, sizeof *took_us, by_size);
  printf("{\"perSecond\":%.1f,\"p50Us\":%.2f,\"p90Us\":%.2f,\"p99Us\":%.2f}\n", per_second, took_us[rounds / 2],
         took_us[rounds * 9 / 10], took_us[rounds * 99 / 100]);
}

int main(int count, char **arguments) {
  if (count == 4 && !strcmp(arguments[1], "serve")) serve(address_of(arguments[2], arguments[3]));
  else if (count == 5 && !strcmp(arguments[1], "ask")) ask(address_of(arguments[2], arguments[3]), atof(arguments[4]));
  else {
    fprintf(stderr, "usage: round-trips serve ADDRESS PORT | ask ADDRESS PORT SECONDS\n");
    return 2;
  }
  return 0;
}
