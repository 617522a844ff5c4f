/** The first descriptor that systemd passes: SD_LISTEN_FDS_START of sd_listen_fds(3). */
const FIRST_DESCRIPTOR = 3

/**
 * Says whether systemd has made our socket (sd_listen_fds(3)): a service that is started by its socket gets it as descriptor 3.
 * What is meant for another process, such as the one that started us, is not taken.
 *
 * @throws {Error} when there is more than the one socket that ipamd has a use for.
 */
export function inheritedSocket(env: Readonly<Record<string, string | undefined>>, pid: number): number | undefined {
  if (env['LISTEN_PID'] !== String(pid)) return undefined
  const count = env['LISTEN_FDS'] ?? ''
  if (count !== '1') throw new Error(`LISTEN_FDS: ${JSON.stringify(count)}: want one socket`)
  return FIRST_DESCRIPTOR
}
