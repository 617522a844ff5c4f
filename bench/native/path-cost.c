/*
 * What a path between two network namespaces costs the processor: TCP from one thread that is at both ends, on one processor, so
 * that nobody is woken and nothing waits. Other work of the machine hardly shows in it.
 *
 *   path-cost TURNS REPEATS [NETNS NETNS ADDRESS]...      client's namespace, server's, and an address of the server
 *
 * In each turn every path has REPEATS round trips of a byte, and then a tenth as many lots of 64 KiB one way; which path comes first
 * is drawn. Prints a JSON array with an object for each path: of each turn the nanoseconds of a round trip, and those of a KiB.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_PATHS = 16, MAX_TURNS = 10000, MAX_REPEATS = 1000000, LOT_BYTES = 64 * 1024, WAIT_SECONDS = 5 };
#define PORT "5302"

struct path {
  int client, server;
  double *round_trip_ns, *kib_ns;
};

static char lot[LOT_BYTES];

static void fail(const char *what) {
  fprintf(stderr, "path-cost: %s: %s\n", what, strerror(errno));
  exit(2);
}

static void enter(const char *netns) {
  int fd = open(netns, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || setns(fd, CLONE_NEWNET)) fail(netns);
  close(fd);
}

static void prepare(int socket) {
  struct timeval wait = {.tv_sec = WAIT_SECONDS};
  int on = 1;
  if (setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on)) fail("TCP_NODELAY");
  if (setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait)) fail("SO_RCVTIMEO");
  if (setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait)) fail("SO_SNDTIMEO");
}

static void connect_path(struct path *path, const char *client_netns, const char *server_netns, const char *address) {
  struct addrinfo *at, wanted = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
  int on = 1;
  if (getaddrinfo(address, PORT, &wanted, &at)) fail(address);
  enter(server_netns);
  int listener = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on)) fail("socket");
  if (bind(listener, at->ai_addr, at->ai_addrlen) || listen(listener, 1)) fail("bind");
  enter(client_netns);
  path->client = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (path->client < 0 || connect(path->client, at->ai_addr, at->ai_addrlen)) fail("connect");
  path->server = accept(listener, NULL, NULL);
  if (path->server < 0) fail("accept");
  close(listener);
  freeaddrinfo(at);
  prepare(path->client);
  prepare(path->server);
}

static void use_one_processor(void) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  if (sched_setaffinity(0, sizeof one, &one)) fail("sched_setaffinity");
}

static double processor_ns(void) {
  struct timespec used;
  if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used)) fail("clock_gettime");
  return (double)used.tv_sec * 1e9 + (double)used.tv_nsec;
}

static void round_trips(const struct path *path, int repeats) {
  char byte = 'x';
  for (int i = 0; i < repeats; i++) {
    if (write(path->client, &byte, 1) != 1 || read(path->server, &byte, 1) != 1) fail("there");
    if (write(path->server, &byte, 1) != 1 || read(path->client, &byte, 1) != 1) fail("back");
  }
}

/* A lot that does not fit into the buffers of both ends would wait for itself: SO_SNDTIMEO ends that. */
static void lots(const struct path *path, int repeats) {
  for (int i = 0; i < repeats; i++) {
    if (write(path->client, lot, sizeof lot) != (ssize_t)sizeof lot) fail("send");
    for (size_t got = 0; got < sizeof lot;) {
      ssize_t more = read(path->server, lot, sizeof lot - got);
      if (more <= 0) fail("receive");
      got += (size_t)more;
    }
  }
}

static void measure(const struct path *path, int turn, int repeats) {
  round_trips(path, repeats / 10);
  double began_ns = processor_ns();
  round_trips(path, repeats);
  path->round_trip_ns[turn] = (processor_ns() - began_ns) / repeats;
  began_ns = processor_ns();
  lots(path, repeats / 10);
  path->kib_ns[turn] = (processor_ns() - began_ns) / (repeats / 10) / (LOT_BYTES / 1024);
}

static void shuffle(int *order, int count) {
  for (int i = count - 1; i > 0; i--) {
    int other = rand() % (i + 1), kept = order[i];
    order[i] = order[other];
    order[other] = kept;
  }
}

static void print_list(const char *name, const double *values, int count) {
  printf("\"%s\":[", name);
  for (int i = 0; i < count; i++) printf("%s%.1f", i ? "," : "", values[i]);
  printf("]");
}

int main(int count, char **arguments) {
  struct path paths[MAX_PATHS];
  int order[MAX_PATHS], turns = count > 2 ? atoi(arguments[1]) : 0, repeats = count > 2 ? atoi(arguments[2]) : 0;
  int number = (count - 3) / 3;
  if (count < 6 || count % 3 || number > MAX_PATHS || turns < 1 || turns > MAX_TURNS || repeats < 10 || repeats > MAX_REPEATS) {
    fprintf(stderr, "usage: path-cost TURNS REPEATS [NETNS NETNS ADDRESS]...\n");
    return 2;
  }
  for (int i = 0; i < number; i++) {
    char **of = arguments + 3 + 3 * i;
    connect_path(&paths[i], of[0], of[1], of[2]);
    paths[i].round_trip_ns = calloc((size_t)turns, sizeof(double));
    paths[i].kib_ns = calloc((size_t)turns, sizeof(double));
    if (!paths[i].round_trip_ns || !paths[i].kib_ns) fail("calloc");
    order[i] = i;
  }
  use_one_processor();
  srand((unsigned)time(NULL));
  for (int turn = 0; turn < turns; turn++) {
    shuffle(order, number);
    for (int i = 0; i < number; i++) measure(&paths[order[i]], turn, repeats);
  }
  for (int i = 0; i < number; i++) {
    printf("%s{", i ? "," : "[");
    print_list("roundTripNs", paths[i].round_trip_ns, turns);
    printf(",");
    print_list("kibNs", paths[i].kib_ns, turns);
    printf("}");
  }
  printf("]\n");
  return 0;
}
