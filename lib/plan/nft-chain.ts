/** A chain of an nftables table, ours or somebody else's. */
export interface NftChain {
  /** As nft(8) names it, or its number where that has no name here. */
  readonly family: string
  readonly table: string
  readonly name: string
  /** Where it sees packets; undefined for one that others jump to. */
  readonly base?: { readonly hook: string; readonly policy: 'accept' | 'drop' }
}
