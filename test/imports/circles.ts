/** The circles of a directed graph, one for each edge that closes one; every circle begins and ends with the same node. */
export function circlesIn(edges: readonly (readonly [from: string, to: string])[]): readonly (readonly string[])[] {
  const next = new Map<string, Set<string>>()
  for (const [from, to] of edges) next.set(from, (next.get(from) ?? new Set()).add(to))
  const circles: (readonly string[])[] = []
  const done = new Set<string>()
  for (const start of next.keys()) visit(start, [])
  return circles

  function visit(node: string, path: readonly string[]): void {
    if (path.includes(node)) circles.push([...path.slice(path.indexOf(node)), node])
    else if (!done.has(node)) {
      for (const to of next.get(node) ?? []) visit(to, [...path, node])
      done.add(node)
    }
  }
}
