/**
 * TCP traffic as fast as it goes, to be run inside a network namespace:
 *   node flood.ts sink ADDRESS PORT    prints "listening", and then the bits per second that arrived in some seconds
 *   node flood.ts pour ADDRESS PORT    sends until the other end has had enough
 */
import { createConnection, createServer, type Socket } from 'node:net'

/** Not counted: what a token bucket lets pass at once, and what TCP takes to find its pace. */
const WARM_UP_MS = 1_500
const MEASURE_MS = 4_000
const CHUNK = Buffer.alloc(64 * 1024)

const [, , role, address = '', port = ''] = process.argv
if (role === 'sink') sink()
else if (role === 'pour') pour(createConnection({ host: address, port: Number(port) }))
else throw new Error(`Unknown role ${JSON.stringify(role)}: want sink or pour`)

function sink(): void {
  const server = createServer(connection => {
    const startMs = performance.now()
    let countedFromMs: number | undefined
    let bytes = 0
    connection.on('data', chunk => {
      const nowMs = performance.now()
      if (nowMs - startMs < WARM_UP_MS) return
      if (countedFromMs === undefined) {
        countedFromMs = nowMs
        return
      }
      bytes += chunk.length
      if (nowMs - countedFromMs < MEASURE_MS) return
      console.log(`bits/s ${Math.round((bytes * 8 * 1000) / (nowMs - countedFromMs))}`)
      connection.destroy()
      server.close()
    })
  })
  server.listen(Number(port), address, () => console.log('listening'))
}

function pour(connection: Socket): void {
  const write = (): void => {
    while (connection.write(CHUNK));
  }
  connection.on('connect', write)
  connection.on('drain', write)
  // The other end closes when it has counted enough.
  connection.on('error', () => connection.destroy())
}
