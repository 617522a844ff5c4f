/**
 * What the runtime says about the trace that a run belongs to: W3C Trace Context and Baggage, by the names of their HTTP
 * headers. Nothing here decides anything by it: it is for people who follow a pod's start from the kubelet to ipamd (E11).
 */
export type TraceContext = Readonly<Partial<Record<(typeof NAMES)[number], string>>>

const NAMES = ['traceparent', 'tracestate', 'baggage'] as const

// Version, trace, span and flags (Trace Context, section 3.2.2). A version that is still to come may append more.
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[!-~]{1,200})?$/
// What may stand in a header, and no more than fits in ipamd's 8 KiB of headers: line breaks above all are not in it.
const TRACESTATE = /^[ -~]{1,512}$/
const BAGGAGE = /^[ -~]{1,4096}$/

/**
 * Reads trace context from wherever `read` finds it by name. What cannot be used is left out, whatever it is: a trace that
 * is cut is no reason for a pod not to start. A state without a trace is left out too (Trace Context, section 3.3.1.5).
 */
export function readTraceContext(read: (name: (typeof NAMES)[number]) => unknown): TraceContext {
  const traceparent = matching(read('traceparent'), TRACEPARENT)
  const tracestate = traceparent === undefined ? undefined : matching(read('tracestate'), TRACESTATE)
  const baggage = matching(read('baggage'), BAGGAGE)
  return {
    ...(traceparent === undefined ? {} : { traceparent }),
    ...(tracestate === undefined ? {} : { tracestate }),
    ...(baggage === undefined ? {} : { baggage }),
  }
}

/** Reads trace context from the environment, where the names are in capitals (libcni, pkg/invoke). */
export function traceContextOfEnv(env: Readonly<Record<string, string | undefined>>): TraceContext {
  return readTraceContext(name => env[name.toUpperCase()])
}

function matching(value: unknown, pattern: RegExp): string | undefined {
  return typeof value === 'string' && pattern.test(value) ? value : undefined
}
