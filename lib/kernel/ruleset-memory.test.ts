import t from 'tap'
import { HOST_PORT_RULESET } from '../plan/exposure-ruleset.ts'
import { NODE_RULESET } from '../plan/ruleset.ts'
import { NetlinkError } from './netlink-error.ts'
import { RulesetMemory, type RulesetLook } from './ruleset-memory.ts'

/** nftables of a node, and how often its rulesets were compared. */
class Tables implements RulesetLook {
  number = 7
  isWhole = true
  compared = 0
  generation = async (): Promise<number> => this.number
  compare = async (): Promise<boolean> => {
    this.compared += 1
    return this.isWhole
  }
  /** Somebody changes something. */
  change = async (): Promise<void> => void (this.number += 1)
}

const refusal = (outcomeUnknown: boolean) => new NetlinkError({ doing: 'x', code: 'EEXIST', outcomeUnknown })

t.test('has() compares once for each generation, and each ruleset for itself', async t => {
  const [memory, tables] = [new RulesetMemory(), new Tables()]
  t.equal(await memory.has(NODE_RULESET, tables), true)
  t.equal(await memory.has({ ...NODE_RULESET }, tables), true)
  t.equal(tables.compared, 1)
  t.equal(await memory.has(HOST_PORT_RULESET, tables), true)
  t.equal(tables.compared, 2)
  await tables.change()
  tables.isWhole = false
  t.equal(await memory.has(NODE_RULESET, tables), false)
  t.equal(await memory.has(NODE_RULESET, tables), false, 'what is lacking is not remembered')
  t.equal(tables.compared, 4)
})

t.test('has() remembers over our own changes, but not when somebody else changed something too', async t => {
  const [memory, tables] = [new RulesetMemory(), new Tables()]
  await memory.has(NODE_RULESET, tables)
  await memory.change(tables.change)
  await t.rejects(memory.change(() => Promise.reject(refusal(false))))
  await memory.has(NODE_RULESET, tables)
  t.equal(tables.compared, 1)
  await memory.change(async () => {
    await tables.change()
    await tables.change()
  })
  await memory.has(NODE_RULESET, tables)
  t.equal(tables.compared, 2)
})

t.test('has() compares while a change is under way, and remembers nothing of it', async t => {
  const [memory, tables] = [new RulesetMemory(), new Tables()]
  await memory.has(NODE_RULESET, tables)
  const { promise, resolve } = Promise.withResolvers<void>()
  const changed = memory.change(async () => {
    await promise
    await tables.change()
  })
  await memory.has(NODE_RULESET, tables)
  await memory.has(HOST_PORT_RULESET, tables)
  t.equal(tables.compared, 3)
  resolve()
  await changed
  await memory.has(NODE_RULESET, tables)
  t.equal(tables.compared, 3)
  await memory.has(HOST_PORT_RULESET, tables)
  t.equal(tables.compared, 4)
})

t.test('has() does not remember what was compared while somebody changed it', async t => {
  const [memory, tables] = [new RulesetMemory(), new Tables()]
  const changing: RulesetLook = {
    generation: tables.generation,
    compare: async () => {
      await tables.change()
      return await tables.compare()
    },
  }
  await memory.has(NODE_RULESET, changing)
  await memory.has(NODE_RULESET, tables)
  t.equal(tables.compared, 2)
})

t.test('change() forgets all when it is not known whether it was done', async t => {
  const [memory, tables] = [new RulesetMemory(), new Tables()]
  await memory.has(NODE_RULESET, tables)
  await t.rejects(memory.change(() => Promise.reject(refusal(true))))
  await memory.has(NODE_RULESET, tables)
  t.equal(tables.compared, 2)
})

t.test('change() counts what says that it was done, and forgets all when it does not know', async t => {
  const [memory, tables] = [new RulesetMemory(), new Tables()]
  await memory.has(NODE_RULESET, tables)
  await memory.change(tables.change, () => true)
  await memory.change(
    async () => {},
    () => false,
  )
  await memory.has(NODE_RULESET, tables)
  t.equal(tables.compared, 1)
  await memory.change(
    async () => {},
    () => undefined,
  )
  await memory.has(NODE_RULESET, tables)
  t.equal(tables.compared, 2)
})

t.test('generations are counted round their end', async t => {
  const [memory, tables] = [new RulesetMemory(), new Tables()]
  tables.number = 0xffff_ffff
  await memory.has(NODE_RULESET, tables)
  await memory.change(async () => void (tables.number = 1))
  await memory.has(NODE_RULESET, tables)
  t.equal(tables.compared, 1)
})
