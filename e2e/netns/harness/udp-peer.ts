/**
 * A UDP server or client, to be run inside a network namespace:
 *   node udp-peer.ts serve ADDRESS PORT TEXT       prints "listening"; answers "TEXT to CLIENT" to every packet, for ever
 *   node udp-peer.ts ask ADDRESS PORT LOCAL-PORT   sends again and again for 2 s; prints the first answer, or "no answer"
 */
import { createSocket } from 'node:dgram'

const SEND_EVERY_MS = 100
const GIVE_UP_AFTER_MS = 2_000

const [, , role, address = '', port = '', last = ''] = process.argv
const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4')
if (role === 'serve') serve()
else if (role === 'ask') ask()
else throw new Error(`Unknown role ${JSON.stringify(role)}: want serve or ask`)

function serve(): void {
  socket.on('message', (_message, client) => socket.send(`${last} to ${client.address}\n`, client.port, client.address))
  socket.bind(Number(port), address, () => console.log('listening'))
}

function ask(): void {
  const send = (): void => socket.send('hello', Number(port), address)
  const sending = setInterval(send, SEND_EVERY_MS)
  const end = (answer: string): void => {
    clearInterval(sending)
    clearTimeout(giveUp)
    socket.close()
    process.stdout.write(answer)
  }
  const giveUp = setTimeout(() => end('no answer\n'), GIVE_UP_AFTER_MS)
  // Nobody listens there: an ICMP error is no answer.
  socket.on('error', () => undefined)
  socket.on('message', message => end(message.toString()))
  socket.bind(Number(last), send)
}
