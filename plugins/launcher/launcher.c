/*
 * The CNI plugin as a container runtime starts it: gives the call to ipamd, which does it with warm code, and becomes
 * tulle-node, which does it itself, whenever ipamd cannot. It decides nothing else, and understands no JSON.
 *
 * docs/adr/0008 has the protocol, and what happens to a call whose answer was lost.
 */
#include "calls.h"
#include "direct.h"
#include "reply.h"
#include "request.h"
#include "system.h"
#include "text.h"

#define DEFAULT_SOCKET "/run/tulle/ipamd.sock"
/* Both hosts keep the locks of attachments below it, whatever socket they use. */
#define RUN_FOLDER "/run/tulle"
/* As tulle-node reads at most: lib/os/stdin.ts. One more shows it that there are too many. */
#define MAX_STDIN_BYTES (1024 * 1024)
#define MAX_HEAD_BYTES (16 * 1024)
/* A result is a prevResult, which was in the input, and some hundred bytes more. */
#define MAX_REPLY_BYTES (4 * 1024 * 1024)
#define PRINT_SECONDS 5
/* Beside its socket ipamd keeps a lock, and writes to it when it starts and when it is told to stop. */
#define LOCK_SUFFIX ".lock"
#define MAX_LOCK_PATH_BYTES 4096
/* Who has just stopped is being replaced, and who has just started will listen in a moment. */
#define JUST_NOW_SECONDS 30
#define RETURN_PAUSE_NS (NS_PER_SECOND / 20)

/*
 * How long each verb may wait for its input, as tulle-node does, for ipamd's answer, and for an ipamd that is being
 * replaced, in seconds. Without ipamd only DEL can be done, and that at once.
 */
struct verb {
  char name[8];
  int32_t input_seconds;
  int32_t answer_seconds;
  int32_t return_seconds;
};

static const struct verb verbs[] = {
    {"ADD", 30, 10, 20}, {"DEL", 30, 10, 0},   {"CHECK", 15, 10, 0},
    {"GC", 60, 40, 0},   {"STATUS", 5, 3, 15}, {"VERSION", 1, 1, 0},
};

/* Undefined like getenv(3): the first that has the name. */
static const char *variable_of(char **environment, const char *name) {
  for (; *environment != NULL; environment++) {
    if (begins_with(*environment, name)) return *environment + length_of(name);
  }
  return NULL;
}

static const struct verb *verb_of(const char *command) {
  for (size_t i = 0; command != NULL && i < sizeof verbs / sizeof *verbs; i++) {
    if (is_equal(command, length_of(command), verbs[i].name)) return &verbs[i];
  }
  return NULL;
}

/* Reads standard input as tulle-node would, and leaves it there for it if it has to be the one after all. */
static size_t read_input(const struct run *run, const struct verb *verb, char *input) {
  const int64_t deadline_ns = monotonic_ns() + verb->input_seconds * NS_PER_SECOND;
  size_t length;
  switch (read_to_end(STDIN, input, MAX_STDIN_BYTES + 1, deadline_ns, &length)) {
    case ENDED: return length;
    case TOO_LONG:
      if (!replace_stdin(input, length)) fail_with("Cannot keep standard input for tulle-node");
      break;
    case TIMED_OUT:
      /* VERSION does without its input; for the others tulle-node would wait all over again only to say this. */
      if (!is_equal(verb->name, length_of(verb->name), "VERSION"))
        fail_with("Cannot read the configuration from standard input: it did not end in time");
      if (!replace_stdin(input, 0)) fail_with("Cannot keep standard input for tulle-node");
      break;
    case FAILED: break;
  }
  run_directly(run, &(struct fallback){0});
}

static const char *socket_of(char **environment) {
  const char *path = variable_of(environment, "TULLE_IPAMD_SOCKET=");
  return path == NULL || *path == '\0' ? DEFAULT_SOCKET : path;
}

static struct circumstances observe(char **environment, int64_t deadline_ns, size_t body_length) {
  const char *netns = variable_of(environment, "CNI_NETNS=");
  return (struct circumstances){
      .deadline_ns = deadline_ns,
      .host_netns = identify("/proc/self/ns/net"),
      .pod_netns = netns == NULL ? (struct identity){0} : identify(netns),
      .run_folder = identify(RUN_FOLDER),
      .body_length = body_length,
  };
}

/* Reads the whole reply. Returns why there is none, or NULL. */
static const char *read_reply(int socket, int64_t deadline_ns, struct reply *reply) {
  static char bytes[MAX_REPLY_BYTES];
  size_t length = 0;
  for (;;) {
    size_t count = 0;
    const enum ending ending = read_some(socket, bytes + length, sizeof bytes - length, deadline_ns, &count);
    if (ending == TIMED_OUT) return "late";
    if (ending != ENDED || count == 0) return "broken";
    length += count;
    switch (judge_reply(bytes, length, reply)) {
      case REPLY_IS_OUTCOME: return NULL;
      case REPLY_DECLINES: return reply->reason[0] == '\0' ? "declined" : reply->reason;
      case REPLY_IS_BROKEN: return "broken";
      case REPLY_IS_SHORT:
        if (length == sizeof bytes) return "broken";
    }
  }
}

/* Gives the call to ipamd and prints its answer. Returns why it has not done it. */
static struct fallback ask(const struct run *run, const struct verb *verb, const char *input, size_t length,
                           struct reply *reply) {
  static char head_bytes[MAX_HEAD_BYTES];
  reply->reason[0] = '\0';
  struct text head = {.bytes = head_bytes, .capacity = sizeof head_bytes};
  const int64_t deadline_ns = monotonic_ns() + verb->answer_seconds * NS_PER_SECOND;
  const struct circumstances circumstances = observe(run->environment, deadline_ns, length);
  /* As a rule it is wrong as well, and tulle-node says what is. */
  if (!write_head(&head, run->environment, &circumstances)) return (struct fallback){0};
  const int socket = connect_to(socket_of(run->environment), deadline_ns);
  if (socket < 0) return (struct fallback){.reason = "unreachable"};
  const int64_t asked_at_ms = realtime_ms();
  /* A daemon that declines may do so, and close, before it has read all: its answer says more than a failed send. */
  if (send_all(socket, head.bytes, head.length, deadline_ns) == ENDED) send_all(socket, input, length, deadline_ns);
  const char *reason = read_reply(socket, deadline_ns, reply);
  /* A daemon that stops waits for its connections to end. */
  close_fd(socket);
  if (reason == NULL) {
    if (write_all(STDOUT, reply->body, reply->body_length, monotonic_ns() + PRINT_SECONDS * NS_PER_SECOND) != ENDED)
      exit_with(1);
    exit_with(reply->exit_code);
  }
  const bool has_declined = reason == reply->reason || is_equal(reason, length_of(reason), "declined");
  /* What ipamd could not end in time it has begun. */
  const bool has_begun = !has_declined || is_equal(reason, length_of(reason), "late");
  return (struct fallback){.reason = reason, .asked_at_ms = has_begun ? asked_at_ms : 0};
}

static bool has_reason(const struct fallback *fallback, const char *reason) {
  return fallback->reason != NULL && is_equal(fallback->reason, length_of(fallback->reason), reason);
}

/* Whether ipamd has just gone, or is about to. */
static bool is_being_replaced(const struct fallback *fallback, const char *socket_path) {
  static char bytes[MAX_LOCK_PATH_BYTES];
  if (!has_reason(fallback, "unreachable") && !has_reason(fallback, "draining") && !has_reason(fallback, "broken"))
    return false;
  struct text path = {.bytes = bytes, .capacity = sizeof bytes};
  put_string(&path, socket_path);
  put_bytes(&path, LOCK_SUFFIX, sizeof LOCK_SUFFIX);
  if (path.is_full) return false;
  const int64_t age_seconds = realtime_ms() / 1000 - modified_at(bytes);
  return age_seconds >= 0 && age_seconds <= JUST_NOW_SECONDS;
}

/* Waits until somebody takes connections. False when nobody did in time. */
static bool await_listener(const char *socket_path, int64_t deadline_ns) {
  while (monotonic_ns() < deadline_ns) {
    pause_for(RETURN_PAUSE_NS);
    const int socket = connect_to(socket_path, deadline_ns);
    if (socket < 0) continue;
    close_fd(socket);
    return true;
  }
  return false;
}

/* As ask(), and once more as soon as an ipamd that is being replaced is there again: no pod fails because of that. */
static struct fallback ask_patiently(const struct run *run, const struct verb *verb, const char *input, size_t length) {
  static struct reply reply;
  const char *socket_path = socket_of(run->environment);
  const int64_t deadline_ns = monotonic_ns() + verb->return_seconds * NS_PER_SECOND;
  for (;;) {
    const struct fallback fallback = ask(run, verb, input, length, &reply);
    if (verb->return_seconds == 0 || !is_being_replaced(&fallback, socket_path)) return fallback;
    if (!await_listener(socket_path, deadline_ns)) return fallback;
    /* What the one before has begun only tulle-node can go on with; it needs the next one's addresses. */
    if (fallback.asked_at_ms != 0) return fallback;
  }
}

/* start.c */
void seed_guard(char **environment);
_Noreturn void launch(long *stack);

/* The program. `stack` is as the kernel leaves it: argc, argv, NULL, envp, NULL. */
_Noreturn void launch(long *stack) {
  static char input[MAX_STDIN_BYTES + 1];
  struct run run = {.arguments = (char **)(stack + 1)};
  run.environment = run.arguments + *stack + 1;
  seed_guard(run.environment);
  const struct verb *verb = verb_of(variable_of(run.environment, "CNI_COMMAND="));
  /* By hand, or with a verb that nobody knows: tulle-node has the words for it. */
  if (verb == NULL) run_directly(&run, &(struct fallback){0});
  const size_t length = read_input(&run, verb, input);
  const struct fallback fallback = ask_patiently(&run, verb, input, length);
  if (!replace_stdin(input, length)) fail_with("Cannot keep standard input for tulle-node");
  run_directly(&run, &fallback);
}
