#define _GNU_SOURCE
#include "visit.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

/* Enough for the deepest task (a path and a few hundred bytes) and the C library's own needs. */
#define STACK_BYTES (256 * 1024)

struct visit {
  int netns_fd;
  void (*task)(void *);
  void *argument;
  struct failure why;
};

static void *run_visit(void *argument) {
  struct visit *visit = argument;
  /* Also refuses namespaces of other kinds, with EINVAL. */
  if (setns(visit->netns_fd, CLONE_NEWNET) == 0) visit->task(visit->argument);
  else visit->why = (struct failure){errno, "setns"};
  return NULL;
}

/*
 * A signal handled on the visiting thread would run its handler in the wrong namespace: the thread starts with all
 * blocked.
 */
static int create_thread(pthread_t *thread, struct visit *visit) {
  pthread_attr_t attributes;
  sigset_t all, before;
  int error = pthread_attr_init(&attributes);
  if (error != 0) return error;
  sigfillset(&all);
  error = pthread_attr_setstacksize(&attributes, STACK_BYTES);
  if (error == 0) error = pthread_sigmask(SIG_SETMASK, &all, &before);
  if (error == 0) {
    error = pthread_create(thread, &attributes, run_visit, visit);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
  }
  pthread_attr_destroy(&attributes);
  return error;
}

bool visit_netns(int netns_fd, void (*task)(void *), void *argument, struct failure *why) {
  if (netns_fd == OWN_NETNS) {
    task(argument);
    return true;
  }
  struct visit visit = {.netns_fd = netns_fd, .task = task, .argument = argument};
  pthread_t thread;
  const int error = create_thread(&thread, &visit);
  if (error != 0) {
    *why = (struct failure){error, "pthread_create"};
    return false;
  }
  pthread_join(thread, NULL);
  *why = visit.why;
  return why->error == 0;
}
