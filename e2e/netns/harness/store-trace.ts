import { createReadStream } from 'node:fs'
import { basename, dirname } from 'node:path'
import { createInterface } from 'node:readline'
import type { Command } from '../../parts/command.ts'
import { type JsonObject, asObject } from './json.ts'

/** What a program did to the files of one folder, and what it heard and said over sockets, in the order of time. */
export type Step =
  | { readonly do: 'create' | 'unlink' | 'sync'; readonly file: string }
  | { readonly do: 'write'; readonly file: string; readonly offset: number; readonly bytes: Buffer }
  | { readonly do: 'truncate'; readonly file: string; readonly length: number }
  | { readonly do: 'rename'; readonly file: string; readonly to: string }
  | { readonly do: 'sync-folder' }
  | { readonly do: 'asked' | 'answered'; readonly connection: number; readonly path: string; readonly body: JsonObject }

/** None of these is expected on the files; one that comes up would make the record wrong, and is refused. */
const REFUSED = 'pwritev,pwritev2,truncate,unlinkat,renameat,renameat2,fallocate,copy_file_range,link,linkat'
const SYSCALLS = `openat,close,read,write,writev,pwrite64,fsync,fdatasync,ftruncate,unlink,rename,${REFUSED}`

/** The command that runs `command` and writes what it does to `traceFile`. Slow: every system call is recorded. */
export function traced(command: Command, traceFile: string): Command {
  const options = ['-f', '-y', '-xx', '-s', '1000000', '-o', traceFile, '-e', `trace=${SYSCALLS}`]
  return ['strace', ...options, '--', ...command]
}

/**
 * Reads a record that `traced` made: what was done to the files of `folder` that `isStored` accepts.
 *
 * @throws {Error} naming the line, for a system call on these files that is not known here.
 */
export async function readTrace(
  traceFile: string,
  { folder, isStored }: { readonly folder: string; readonly isStored: (file: string) => boolean },
): Promise<readonly Step[]> {
  const reader = new TraceReader(folder, isStored)
  const unfinished = new Map<string, string>()
  for await (const line of createInterface({ input: createReadStream(traceFile, 'latin1') })) {
    const whole = joined(line, unfinished)
    const call = whole === undefined ? undefined : /^\d+ +([a-z0-9]+)\((.*)\) += (-?\d+)/.exec(whole)
    if (call === null || call === undefined) continue
    const [, name = '', args = '', result = ''] = call
    if (Number(result) >= 0) reader.take(name, args, Number(result))
  }
  return reader.steps
}

/** One call on one line: strace splits a call when another thread does something meanwhile. Undefined for the first part. */
function joined(line: string, unfinished: Map<string, string>): string | undefined {
  const thread = line.slice(0, line.indexOf(' '))
  const start = /^(.*) <unfinished \.\.\.>$/.exec(line)?.[1]
  if (start !== undefined) {
    unfinished.set(thread, start)
    return undefined
  }
  const end = /^\d+ +<\.\.\. [a-z0-9]+ resumed>(.*)$/.exec(line)?.[1]
  return end === undefined ? line : `${unfinished.get(thread) ?? ''}${end}`
}

class TraceReader {
  readonly steps: Step[] = []
  readonly #folder: string
  readonly #isStored: (file: string) => boolean
  readonly #existing = new Set<string>()
  /** By file descriptor: what came in, and the path that was asked for. */
  readonly #connections = new Map<number, { received: string; path: string | undefined; id: number }>()
  #nextConnection = 0

  constructor(folder: string, isStored: (file: string) => boolean) {
    this.#folder = folder
    this.#isStored = isStored
  }

  take(name: string, args: string, result: number): void {
    if (name === 'openat') return this.#open(args)
    if (name === 'unlink') return this.#unlink(args)
    if (name === 'rename') return this.#rename(args)
    if (REFUSED.split(',').includes(name)) this.#refuse(name, args)
    const fd = /^(\d+)<([^>]*)>/.exec(args)
    if (fd === null) return
    const target = unescapeHex(fd[2] ?? '').toString('utf8')
    if (target.startsWith('socket:') || target.startsWith('UNIX')) this.#talk(name, Number(fd[1]), args)
    else if (target === this.#folder && (name === 'fsync' || name === 'fdatasync')) {
      this.steps.push({ do: 'sync-folder' })
    } else if (this.#isOurs(target)) this.#change(name, basename(target), { args, result })
  }

  #isOurs(path: string): boolean {
    return dirname(path) === this.#folder && this.#isStored(basename(path))
  }

  #open(args: string): void {
    const path = stringsIn(args).toString('utf8')
    if (!this.#isOurs(path) || !args.includes('O_CREAT') || this.#existing.has(path)) return
    this.#existing.add(path)
    this.steps.push({ do: 'create', file: basename(path) })
  }

  #unlink(args: string): void {
    const path = stringsIn(args).toString('utf8')
    if (!this.#isOurs(path)) return
    this.#existing.delete(path)
    this.steps.push({ do: 'unlink', file: basename(path) })
  }

  #rename(args: string): void {
    const [from = '', to = ''] = args.split(', ').map(each => stringsIn(each).toString('utf8'))
    if (!this.#isOurs(from) && !this.#isOurs(to)) return
    this.#existing.delete(from)
    this.#existing.add(to)
    this.steps.push({ do: 'rename', file: basename(from), to: basename(to) })
  }

  #refuse(name: string, args: string): void {
    const names = [...args.matchAll(/["<]((?:\\x[0-9a-f]{2})+)[">]/g)].map(match =>
      unescapeHex(match[1] ?? '').toString(),
    )
    if (names.some(each => this.#isOurs(each))) throw new Error(`Cannot follow ${name} on ${names.join(' ')}`)
  }

  #change(name: string, file: string, { args, result }: { args: string; result: number }): void {
    const last = Number(args.slice(args.lastIndexOf(',') + 1))
    switch (name) {
      case 'pwrite64':
        this.steps.push({ do: 'write', file, offset: last, bytes: stringsIn(args).subarray(0, result) })
        return
      case 'ftruncate':
        this.steps.push({ do: 'truncate', file, length: last })
        return
      case 'fsync':
      case 'fdatasync':
        this.steps.push({ do: 'sync', file })
        return
      case 'read':
      case 'close':
        return
      default:
        throw new Error(`Cannot follow ${name} on ${file}: ${args.slice(0, 200)}`)
    }
  }

  #talk(name: string, fd: number, args: string): void {
    if (name === 'close') {
      this.#connections.delete(fd)
      return
    }
    const text = stringsIn(args).toString('utf8')
    if (name === 'read') {
      const known = this.#connections.get(fd) ?? { received: '', path: undefined, id: this.#nextConnection++ }
      this.#connections.set(fd, known)
      known.received += text
      const request = /^POST (\S+) [^]*?\r\n\r\n(\{[^]*\})$/.exec(known.received)
      if (request === null || known.path !== undefined) return
      known.path = request[1] ?? ''
      this.steps.push({ do: 'asked', connection: known.id, path: known.path, body: bodyOf(request[2]) })
      return
    }
    const known = this.#connections.get(fd)
    const reply = /^HTTP\/1\.1 200 [^]*?\r\n\r\n(\{[^]*\})\n$/.exec(text)
    if (known?.path === undefined || reply === null) return
    this.steps.push({ do: 'answered', connection: known.id, path: known.path, body: bodyOf(reply[1]) })
  }
}

function bodyOf(text: string | undefined): JsonObject {
  return asObject(JSON.parse(text ?? ''), 'body')
}

/** Every quoted string of the arguments, one after the other: a message may be given in parts. */
function stringsIn(args: string): Buffer {
  return unescapeHex([...args.matchAll(/"([^"]*)"/g)].map(match => match[1] ?? '').join(''))
}

/** With -xx strace writes every byte as \xNN. */
function unescapeHex(text: string): Buffer {
  return Buffer.from(text.replaceAll('\\x', ''), 'hex')
}
