/**
 * A TCP server or client, to be run inside a network namespace:
 *   node tcp-peer.ts serve ADDRESS PORT TEXT    prints "listening"; answers "TEXT to CLIENT" to every connection, for ever
 *   node tcp-peer.ts ask ADDRESS PORT           prints the answer, or "refused: ERRNO"
 */
import { createConnection, createServer } from 'node:net'

const CONNECT_TIMEOUT_MS = 2_000

const [, , role, address = '', port = '', text = ''] = process.argv
if (role === 'serve') serve()
else if (role === 'ask') ask()
else throw new Error(`Unknown role ${JSON.stringify(role)}: want serve or ask`)

function serve(): void {
  const server = createServer(connection => {
    // A client may be gone before it has read: that is its affair.
    connection.on('error', () => undefined)
    connection.end(`${text} to ${connection.remoteAddress}\n`)
  })
  server.listen(Number(port), address, () => console.log('listening'))
}

function ask(): void {
  const connection = createConnection({ host: address, port: Number(port), timeout: CONNECT_TIMEOUT_MS })
  connection.setEncoding('utf8')
  connection.on('data', chunk => process.stdout.write(String(chunk)))
  connection.on('timeout', () => connection.destroy(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' })))
  connection.on('error', error => console.log(`refused: ${'code' in error ? String(error.code) : error.message}`))
}
