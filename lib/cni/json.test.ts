import fc from 'fast-check'
import t from 'tap'

import { CniError } from './errors.ts'
import {
  member,
  optionalBoolean,
  optionalInteger,
  optionalSection,
  optionalSections,
  optionalString,
  optionalStrings,
  parseJsonObject,
  requiredString,
  rootSection,
} from './json.ts'

const refused = [
  { name: 'nothing', text: '', want: /it is not JSON/ },
  { name: 'half an object', text: '{"a":', want: /it is not JSON/ },
  { name: 'two documents', text: '{}{}', want: /it is not JSON/ },
  { name: 'a comment', text: '{} // x', want: /it is not JSON/ },
  { name: 'NaN', text: '{"mtu": NaN}', want: /it is not JSON/ },
  { name: 'a list', text: '[{}]', want: /it is \[\{\}\]; want a JSON object/ },
  { name: 'null', text: 'null', want: /it is null; want a JSON object/ },
  { name: 'a text', text: '"x"', want: /it is "x"; want a JSON object/ },
  { name: '65 levels', text: nested(65), want: /want at most 64 levels of nesting/ },
  { name: '100,000 levels', text: nested(100_000), want: /want at most 64 levels of nesting/ },
  { name: 'more than 4 MiB', text: `{"a":"${'x'.repeat(4 * 1024 * 1024)}"}`, want: /want at most 4194304/ },
] as const

for (const c of refused) {
  t.test(`parseJsonObject() refuses ${c.name} with code 6 (C1)`, async t => {
    t.throws(() => parseJsonObject(c.text), { name: 'CniError', code: 6, message: c.want })
  })
}

t.test('parseJsonObject() names the document, and keeps what the parser says in details (C1)', async t => {
  t.throws(() => parseJsonObject('{x}', 'the output of host-local'), {
    message: 'Cannot decode the output of host-local: it is not JSON',
    details: /JSON/,
  })
})

t.test('parseJsonObject() accepts 64 levels', async t => {
  t.doesNotThrow(() => parseJsonObject(nested(64)))
})

t.test('member() sees own members only, and takes null for missing (C10)', async t => {
  const root = rootSection(parseJsonObject('{"a":null,"__proto__":{"b":1},"c":0}'))
  t.equal(member(root, 'a'), undefined)
  t.equal(member(root, 'toString'), undefined)
  t.equal(member(root, 'b'), undefined)
  t.same(member(root, '__proto__'), JSON.parse('{"b":1}'))
  t.equal(member(root, 'c'), 0)
  t.equal(Object.getPrototypeOf({ ...root.object }), Object.prototype, 'a copy keeps its prototype')
})

const SAMPLE =
  '{"text":"x","empty":"","flag":true,"number":5,"null":null,"object":{"in":{"n":1}},"list":["a","b"],"objects":[{"k":"v"},{}]}'
const sample = rootSection(parseJsonObject(SAMPLE))

t.test('the getters read what is there, and take null and missing for undefined (C10)', async t => {
  t.equal(optionalString(sample, 'empty'), '')
  t.equal(requiredString(sample, 'text'), 'x')
  t.equal(optionalBoolean(sample, 'flag'), true)
  t.equal(optionalInteger(sample, 'number', { min: 5, max: 5 }), 5)
  t.same(optionalStrings(sample, 'list'), ['a', 'b'])
  for (const key of ['null', 'missing']) {
    t.equal(optionalString(sample, key), undefined)
    t.equal(optionalBoolean(sample, key), undefined)
    t.equal(optionalInteger(sample, key, { min: 0, max: 9 }), undefined)
    t.equal(optionalSection(sample, key), undefined)
    t.equal(optionalSections(sample, key), undefined)
    t.equal(optionalStrings(sample, key), undefined)
  }
})

const faults = [
  {
    name: 'optionalString()',
    read: () => optionalString(sample, 'number'),
    want: 'Cannot use number 5: want a string',
  },
  {
    name: 'requiredString()',
    read: () => requiredString(sample, 'empty'),
    want: 'Cannot use empty "": want a string that is not empty',
  },
  {
    name: 'requiredString()',
    read: () => requiredString(sample, 'no'),
    want: 'no is missing: want a string that is not empty',
  },
  {
    name: 'optionalBoolean()',
    read: () => optionalBoolean(sample, 'text'),
    want: 'Cannot use text "x": want true or false',
  },
  {
    name: 'optionalInteger()',
    read: () => optionalInteger(sample, 'number', { min: 6, max: 9 }),
    want: 'Cannot use number 5: want an integer from 6 to 9',
  },
  {
    name: 'optionalInteger()',
    read: () => optionalInteger(sample, 'text', { min: 6, max: 9 }),
    want: 'Cannot use text "x": want an integer from 6 to 9',
  },
  {
    name: 'optionalSection()',
    read: () => optionalSection(sample, 'list'),
    want: 'Cannot use list ["a","b"]: want an object',
  },
  {
    name: 'optionalSections()',
    read: () => optionalSections(sample, 'object'),
    want: 'Cannot use object {"in":{"n":1}}: want a list',
  },
  {
    name: 'optionalSections()',
    read: () => optionalSections(sample, 'list'),
    want: 'Cannot use list[0] "a": want an object',
  },
  {
    name: 'optionalStrings()',
    read: () => optionalStrings(sample, 'objects'),
    want: 'Cannot use objects[0] {"k":"v"}: want a string',
  },
  { name: 'a nested path', read: () => requiredString(inside(), 'n'), want: 'Cannot use object.in.n 1: want a string' },
  {
    name: 'a path with an index',
    read: () => requiredString(second(), 'k'),
    want: 'objects[1].k is missing: want a string that is not empty',
  },
] as const

for (const c of faults) {
  t.test(`${c.name} says: ${c.want} (C7)`, async t => {
    t.throws(c.read, { name: 'CniError', code: 7, message: c.want })
  })
}

t.test('a fault has the code of the section that it was found in', async t => {
  t.throws(() => optionalString(rootSection(sample.object, 6), 'number'), { code: 6 })
})

t.test('parseJsonObject() throws nothing but CniError with code 6', async t => {
  const jsonish = fc.string({ unit: fc.constantFrom(...'{}[]":,0e-.ntrufalse\\ '.split('')) })
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.json(), jsonish), text => {
      try {
        parseJsonObject(text)
        return true
      } catch (error) {
        return error instanceof CniError && error.code === 6
      }
    }),
  )
  t.pass()
})

function nested(levels: number): string {
  return `{"a":${'['.repeat(levels - 1)}${']'.repeat(levels - 1)}}`
}

function inside() {
  const object = optionalSection(sample, 'object')
  const inner = object && optionalSection(object, 'in')
  if (!inner) throw new Error('The sample has no object.in')
  return inner
}

function second() {
  const section = optionalSections(sample, 'objects')?.[1]
  if (!section) throw new Error('The sample has no objects[1]')
  return section
}
