/*
 * Executes chains of programs as a container runtime does, and measures each: wall time, processor time of the whole process
 * tree (wait4(2): a program that waits for what it executed accounts for it), largest resident set.
 *
 * Small and static, so that what is measured is the programs and not who starts them. One job on stdin, one report on stdout,
 * both made of fields: the number of bytes, a line feed, the bytes. A job:
 *
 *   at-once (1) or one after another (0), pid of a daemon whose processor time is wanted (0: none), seconds until what still runs
 *   is killed, number of chains; of each chain the number of programs; of each program its path, the number of variables, each
 *   variable, then the standard input in three parts: text, whether the output of the program before goes here (0 or 1), text.
 *
 * A chain ends at the first program that fails. A report: nanoseconds from the first start to the last end, nanoseconds of the
 * daemon from before the first start until it has rested after the last end; for each program that ran: number of the chain,
 * exit status (-1: killed), when it began and when it ended (nanoseconds since the first start), processor time in microseconds,
 * largest resident set in KiB, its output.
 *
 * Bounds: 64 MiB of job, 1024 chains, 16 programs in a chain, 256 variables, 1 MiB of output from one program.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_JOB = 64 << 20, MAX_CHAINS = 1024, MAX_CALLS = 16, MAX_VARIABLES = 256, MAX_OUTPUT = 1 << 20 };

/* A daemon may go on after it has answered: it has rested when it used less than a tenth of the time between two looks. */
enum { LOOK_NS = 20000000, REST_NS = 2000000, LOOKS = 25 };

struct text {
  char *bytes;
  size_t length;
};

struct call {
  char *path;
  char *variables[MAX_VARIABLES + 1];
  struct text before, after;
  int takes_previous;
  /* What came of it. */
  int has_run, status;
  long long began_ns, ended_ns, cpu_us, resident_kib;
  struct text output;
};

struct chain {
  int calls, at;
  struct call *call;
  pid_t pid;
  int in, out;
  struct text input;
  size_t written;
};

static void fail(const char *what) {
  fprintf(stderr, "runner: %s: %s\n", what, errno ? strerror(errno) : "no such thing can be");
  exit(2);
}

static void *memory(size_t size) {
  void *found = calloc(1, size ? size : 1);
  if (!found) fail("memory");
  return found;
}

static long long now_ns(clockid_t clock) {
  struct timespec at;
  if (clock_gettime(clock, &at)) fail("clock_gettime");
  return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static struct text job;
static size_t job_at;

static void read_job(void) {
  job.bytes = memory(MAX_JOB);
  for (;;) {
    ssize_t got = read(0, job.bytes + job.length, MAX_JOB - job.length);
    if (got < 0) fail("read the job");
    if (got == 0) return;
    job.length += (size_t)got;
    if (job.length == MAX_JOB) fail("a job of this size");
  }
}

/* The next field. Its text is ended by a NUL in place of the first digit of the field after it, which has been read by then. */
static struct text field(void) {
  size_t length = 0;
  errno = 0;
  while (job_at < job.length && job.bytes[job_at] >= '0' && job.bytes[job_at] <= '9') {
    length = length * 10 + (size_t)(job.bytes[job_at++] - '0');
    if (length > MAX_JOB) fail("a field of this length");
  }
  if (job_at >= job.length || job.bytes[job_at++] != '\n' || job.length - job_at < length) fail("a field");
  struct text found = {memory(length + 1), length};
  memcpy(found.bytes, job.bytes + job_at, length);
  job_at += length;
  return found;
}

static long number(long least, long most) {
  struct text found = field();
  char *end;
  errno = 0;
  long value = strtol(found.bytes, &end, 10);
  if (found.length == 0 || *end || value < least || value > most) fail(found.bytes);
  return value;
}

static void parse_call(struct call *call) {
  call->path = field().bytes;
  long variables = number(0, MAX_VARIABLES);
  for (long index = 0; index < variables; index++) call->variables[index] = field().bytes;
  call->before = field();
  call->takes_previous = (int)number(0, 1);
  call->after = field();
}

static void close_once(int *descriptor) {
  if (*descriptor >= 0) close(*descriptor);
  *descriptor = -1;
}

static void set_input(struct chain *chain, const struct call *call) {
  static const struct text nothing;
  const struct text *middle = call->takes_previous && chain->at > 0 ? &chain->call[chain->at - 1].output : &nothing;
  free(chain->input.bytes);
  chain->input.length = call->before.length + middle->length + call->after.length;
  chain->input.bytes = memory(chain->input.length);
  memcpy(chain->input.bytes, call->before.bytes, call->before.length);
  if (middle->length) memcpy(chain->input.bytes + call->before.length, middle->bytes, middle->length);
  memcpy(chain->input.bytes + call->before.length + middle->length, call->after.bytes, call->after.length);
  chain->written = 0;
}

static void start(struct chain *chain) {
  struct call *call = &chain->call[chain->at];
  int in[2], out[2];
  char *arguments[] = {call->path, NULL};
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  set_input(chain, call);
  call->output.bytes = memory(MAX_OUTPUT);
  call->began_ns = now_ns(CLOCK_MONOTONIC);
  call->has_run = 1;
  if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC)) fail("pipe2");
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  /* A process group of its own, so that what it has executed can be killed with it. */
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  errno = posix_spawn(&chain->pid, call->path, &actions, &attributes, arguments, call->variables);
  if (errno) fail(call->path);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  close(in[0]);
  close(out[1]);
  chain->in = in[1];
  chain->out = out[0];
  if (fcntl(chain->in, F_SETFL, O_NONBLOCK)) fail("fcntl");
}

/* True when the chain goes on with another program. */
static int end(struct chain *chain) {
  struct call *call = &chain->call[chain->at];
  struct rusage used;
  int status;
  close_once(&chain->in);
  close_once(&chain->out);
  while (wait4(chain->pid, &status, 0, &used) < 0)
    if (errno != EINTR) fail("wait4");
  call->ended_ns = now_ns(CLOCK_MONOTONIC);
  call->status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  call->cpu_us =
      (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000LL + used.ru_utime.tv_usec + used.ru_stime.tv_usec;
  call->resident_kib = used.ru_maxrss;
  chain->pid = 0;
  /* What it wrote is kept, the rest of the room is not: 250 chains would need it. */
  call->output.bytes = realloc(call->output.bytes, call->output.length ? call->output.length : 1);
  if (!call->output.bytes) fail("memory");
  return call->status == 0 && ++chain->at < chain->calls;
}

static void feed(struct chain *chain) {
  size_t rest = chain->input.length - chain->written;
  ssize_t sent = rest ? write(chain->in, chain->input.bytes + chain->written, rest) : 0;
  if (sent > 0) chain->written += (size_t)sent;
  /* A program may end without reading: its exit status says what there is to say. */
  if (chain->written == chain->input.length || (sent < 0 && errno == EPIPE)) close_once(&chain->in);
  else if (sent < 0 && errno != EAGAIN && errno != EINTR) fail("write");
}

/* True when the program has closed its output. */
static int drain(struct chain *chain) {
  struct text *output = &chain->call[chain->at].output;
  ssize_t got = read(chain->out, output->bytes + output->length, MAX_OUTPUT - output->length);
  if (got < 0 && errno != EINTR) fail("read");
  if (got > 0) output->length += (size_t)got;
  if (output->length == MAX_OUTPUT) fail("an output of this size");
  return got == 0;
}

static void run(struct chain *chains, long first, long last, long long until_ns) {
  static struct pollfd looked_at[2 * MAX_CHAINS];
  long running = 0;
  int killed = 0;
  for (long index = first; index < last; index++) {
    start(&chains[index]);
    feed(&chains[index]);
    running++;
  }
  while (running > 0) {
    for (long index = first; index < last; index++) {
      looked_at[2 * index] = (struct pollfd){.fd = chains[index].in, .events = POLLOUT};
      looked_at[2 * index + 1] = (struct pollfd){.fd = chains[index].out, .events = POLLIN};
    }
    long long left_ms = (until_ns - now_ns(CLOCK_MONOTONIC)) / 1000000;
    int found = poll(looked_at + 2 * first, (nfds_t)(2 * (last - first)), left_ms > 0 && !killed ? (int)left_ms : 1000);
    if (found < 0 && errno != EINTR) fail("poll");
    if (found == 0) {
      /* A second time it is somebody who has left the group and holds the pipe: it is not waited for. */
      for (long index = first; index < last; index++) {
        if (chains[index].pid <= 0) continue;
        kill(-chains[index].pid, SIGKILL);
        if (killed && !end(&chains[index])) running--;
      }
      killed = 1;
      continue;
    }
    for (long index = first; index < last; index++) {
      struct chain *chain = &chains[index];
      if (chain->pid <= 0) continue;
      if (chain->in >= 0 && looked_at[2 * index].revents) feed(chain);
      if (!looked_at[2 * index + 1].revents || !drain(chain)) continue;
      if (!end(chain) || killed) running--;
      else {
        start(chain);
        feed(chain);
      }
    }
  }
}

static long long rested_ns(clockid_t clock) {
  long long before = now_ns(clock), after = before;
  for (int look = 0; look < LOOKS; look++) {
    nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
    after = now_ns(clock);
    if (after - before < REST_NS) break;
    before = after;
  }
  return after;
}

static void put(const char *bytes, size_t length) {
  if (printf("%zu\n", length) < 0 || fwrite(bytes, 1, length, stdout) != length) fail("write the report");
}

static void put_number(long long value) {
  char digits[32];
  put(digits, (size_t)snprintf(digits, sizeof digits, "%lld", value));
}

int main(void) {
  signal(SIGPIPE, SIG_IGN);
  read_job();
  long at_once = number(0, 1), daemon = number(0, 1L << 30), seconds = number(1, 3600), count = number(1, MAX_CHAINS);
  struct chain *chains = memory((size_t)count * sizeof *chains);
  for (long index = 0; index < count; index++) {
    struct chain *chain = &chains[index];
    chain->calls = (int)number(1, MAX_CALLS);
    chain->call = memory((size_t)chain->calls * sizeof *chain->call);
    chain->in = chain->out = -1;
    for (int call = 0; call < chain->calls; call++) parse_call(&chain->call[call]);
  }
  clockid_t clock = CLOCK_PROCESS_CPUTIME_ID;
  errno = daemon ? clock_getcpuclockid((pid_t)daemon, &clock) : 0;
  if (errno) fail("the daemon");

  long long daemon_before_ns = daemon ? rested_ns(clock) : 0, began_ns = now_ns(CLOCK_MONOTONIC);
  long long until_ns = began_ns + seconds * 1000000000LL;
  if (at_once) run(chains, 0, count, until_ns);
  else for (long index = 0; index < count; index++) run(chains, index, index + 1, until_ns);
  long long ended_ns = now_ns(CLOCK_MONOTONIC), daemon_after_ns = daemon ? rested_ns(clock) : 0;

  put_number(ended_ns - began_ns);
  put_number(daemon_after_ns - daemon_before_ns);
  for (long index = 0; index < count; index++)
    for (int at = 0; at < chains[index].calls; at++) {
      const struct call *call = &chains[index].call[at];
      if (!call->has_run) continue;
      put_number(index);
      put_number(call->status);
      put_number(call->began_ns - began_ns);
      put_number(call->ended_ns - began_ns);
      put_number(call->cpu_us);
      put_number(call->resident_kib);
      put(call->output.bytes, call->output.length);
    }
  if (fflush(stdout)) fail("write the report");
  return 0;
}
