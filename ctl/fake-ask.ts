import { IpamProblem } from '../lib/ipam/errors.ts'
import type { Ask } from './ask.ts'
import type { StreamedDocument } from './follow.ts'

/** What is answered to "GET /path?query" or "POST /path"; a problem is thrown. */
export type Answers = Readonly<Record<string, object | readonly object[]>>

export interface FakeAsk extends Ask {
  /** What was asked, in order, with the body of a POST behind it. */
  readonly asked: readonly string[]
}

/** An ipamd of prepared answers. What is not prepared is not-found, as in the real one. */
export function fakeAsk(answers: Answers): FakeAsk {
  const asked: string[] = []

  async function answer(request: string): Promise<object> {
    const found = answers[request]
    if (found === undefined) throw new IpamProblem('not-found', `no resource ${JSON.stringify(request)}`)
    if (found instanceof IpamProblem) throw found
    return found
  }

  async function* follow(request: string): AsyncGenerator<StreamedDocument> {
    for (const event of (await answer(request)) as readonly StreamedDocument[]) yield event
  }

  return {
    socketPath: '/run/tulle/ipamd.sock',
    asked,
    get(path) {
      asked.push(`GET ${path}`)
      return answer(`GET ${path}`)
    },
    post(path, body) {
      asked.push(`POST ${path} ${JSON.stringify(body)}`)
      return answer(`POST ${path}`)
    },
    follow: path => follow(`GET ${path}`),
  }
}
