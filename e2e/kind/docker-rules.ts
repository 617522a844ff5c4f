/** Docker's chains, and what leads to them, from the text of iptables-save for one table: a text for `iptables-restore --noflush`. */
export function rulesOfDocker(saved: string): string {
  const lines = saved.split('\n').filter(line => /^(\*|COMMIT$)/.test(line) || /^(:|-A .*-j |-A )DOCKER_/.test(line))
  return `${lines.join('\n')}\n`
}
