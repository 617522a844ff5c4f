/** The chains that are measured in everything, in the order of tables and charts. */
export const CHAINS = ['tulle, served', 'tulle, direct', 'kindnet chain', 'flannel chain', 'bridge chain'] as const
/** The messages to the kernel of an attachment, without a plugin. */
export const FLOOR = 'kernel floor'
/** Executing a program that does nothing. */
export const TRUE = 'executing true'
/** Tulle's bridge, which carries packets otherwise than its routed pods. */
export const TULLE_BRIDGE = 'tulle, bridge'

export type ContenderName = (typeof CHAINS)[number] | typeof FLOOR | typeof TRUE | typeof TULLE_BRIDGE

/** What the goals are held against. */
export const PEER = CHAINS[2]
export const SERVED = CHAINS[0]
export const DIRECT = CHAINS[1]
