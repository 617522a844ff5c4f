import type { Prefix } from '../net/prefix.ts'

/** A range that the node itself uses: a subnet of one of its addresses, or what a route leads to. */
export interface HostRange {
  readonly prefix: Prefix
  /** For a person, as ip(8) shows it: "address 192.168.1.5/24 dev eth0", "route 10.0.0.0/8 dev eth0". */
  readonly what: string
}
