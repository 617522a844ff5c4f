/* Work inside another network namespace. */
#ifndef TULLE_VISIT_H
#define TULLE_VISIT_H

#include "values.h"

#define OWN_NETNS (-1)

/*
 * Runs `task(argument)` in a namespace and returns when it has ended. OWN_NETNS runs it on the calling thread; any
 * other is entered by a thread that lives only for this task, so that no thread of Node is ever in another namespace.
 * The kernel may take a moment longer to take that thread apart; it runs no code by then. Returns false with `why` when
 * the namespace could not be entered: then the task did not run.
 */
bool visit_netns(int netns_fd, void (*task)(void *), void *argument, struct failure *why);

#endif
