import t from 'tap'
import { NODE_RULESET, renderRuleset, ruleComment } from './ruleset.ts'

t.test('renderRuleset() shows the rules of a node as nft(8) would', async t => {
  t.equal(
    renderRuleset(NODE_RULESET),
    [
      'table inet tulle {',
      '\tchain from-pods {',
      '\t\ttype filter hook prerouting priority raw; policy accept;',
      '\t\tiifname "tul*" fib saddr . iif oif missing counter drop comment "spoofed source: iifname tul* fib saddr . iif oif missing"',
      '\t\tiifname "tul*" ip daddr 127.0.0.0/8 counter drop comment "to the loopback of the host: iifname tul* ip daddr 127.0.0.0/8"',
      '\t}',
      '}',
    ].join('\n'),
  )
})

// The kernel keeps at most 256 bytes of userdata with a rule, of which nft(8) takes 128 for the comment.
t.test('ruleComment() fits what nft(8) allows', async t => {
  for (const rule of NODE_RULESET.chains.flatMap(chain => chain.rules)) t.ok(ruleComment(rule).length < 128, rule.name)
})
