import { AttrStream } from 'netlink/dist/structs.js'
import type { AddShaper } from '../plan/operation.ts'
import type { NetlinkRequest } from './netlink-socket.ts'
import { NLM_F_CREATE, NLM_F_EXCL, payload } from './rtnetlink-encode.ts'

/*
 * Traffic control as rtnetlink(7) requests: qdiscs, filters and their actions (linux/pkt_sched.h, linux/pkt_cls.h,
 * linux/tc_act/tc_mirred.h). The codecs of `netlink` do not know it.
 */

const RTM = { newQdisc: 36, getQdisc: 38, newFilter: 44, getFilter: 46 } as const
/** Of a GET: kernels before 6.10 send the object only to those who ask for what they send to everybody. */
const NLM_F_ECHO = 0x08

/** struct tcmsg: family and padding, interface index, handle, parent, info. */
export const TC_HEADER_BYTES = 20
export const TCA = { kind: 1, options: 2 } as const
/** TC_H_ROOT and TC_H_INGRESS as parents; the ingress qdisc has the handle ffff:. */
const ROOT = 0xffff_ffff
const INGRESS = 0xffff_fff1
const INGRESS_HANDLE = 0xffff_0000

export const TBF = { parms: 1, rate64: 4, burst: 6 } as const
/** struct tc_tbf_qopt: two tc_ratespec of 12 bytes (the second is a peak rate, which we have none of), limit, buffer, mtu. */
export const TBF_PARMS_BYTES = 36
export const TBF_LIMIT_OFFSET = 24
/** In struct tc_ratespec: how packets are measured, and bytes per second. */
const LINK_LAYER_OFFSET = 1
export const RATE_OFFSET = 8
/** With it the kernel computes how long a packet takes; without, it would want a table. */
const LINK_LAYER_ETHERNET = 1

export const U32 = { selector: 5, action: 7 } as const
/** struct tc_u32_sel with one struct tc_u32_key behind it: 4 bytes of the packet at an offset, under a mask. */
export const U32_SELECTOR_BYTES = 16
export const U32_KEY_BYTES = 16
/** The filter decides; there is no table behind it to go on in. */
export const U32_TERMINAL = 1
const ETH_P_ALL = 3
const PRIORITY = 1
/** The info of a filter: its priority, and the protocol in network byte order. */
export const EVERYTHING_FIRST = ((PRIORITY << 16) | (ETH_P_ALL << 8)) >>> 0

export const ACTION = { kind: 1, options: 2 } as const
export const MIRRED_PARMS = 2
/** struct tc_mirred: five numbers that all actions have, then what is done, and the index of the link. */
export const MIRRED_PARMS_BYTES = 28
const VERDICT_OFFSET = 8
export const MIRRED_DOING_OFFSET = 20
export const MIRRED_LINK_OFFSET = 24
export const MIRRED_EGRESS_REDIRECT = 1
const TC_ACT_STOLEN = 4

const MAX_U32 = 0xffff_ffff

export function addShaper({ bytesPerSecond, burstBytes, limitBytes }: AddShaper, index: number): NetlinkRequest {
  const parms = Buffer.alloc(TBF_PARMS_BYTES)
  parms.writeUInt8(LINK_LAYER_ETHERNET, LINK_LAYER_OFFSET)
  parms.writeUInt32LE(Math.min(bytesPerSecond, MAX_U32), RATE_OFFSET)
  parms.writeUInt32LE(limitBytes, TBF_LIMIT_OFFSET)
  const attributes = [
    [TBF.parms, parms],
    [TBF.burst, u32(burstBytes)],
    ...(bytesPerSecond > MAX_U32 ? [[TBF.rate64, u64(bytesPerSecond)] as const] : []),
  ] as const
  return add(RTM.newQdisc, header({ index, parent: ROOT }), [
    [TCA.kind, text('tbf')],
    [TCA.options, nested(attributes)],
  ])
}

/** Leads every packet that arrives at the link `index` out through the link `toIndex`. */
export function redirectIngress(index: number, toIndex: number): readonly NetlinkRequest[] {
  // A selector needs a key: this one asks for nothing. `matchall` would say it, but not every kernel has it.
  const selector = Buffer.alloc(U32_SELECTOR_BYTES + U32_KEY_BYTES)
  selector.writeUInt8(U32_TERMINAL, 0)
  selector.writeUInt8(1, 2)
  const mirred = Buffer.alloc(MIRRED_PARMS_BYTES)
  mirred.writeInt32LE(TC_ACT_STOLEN, VERDICT_OFFSET)
  mirred.writeInt32LE(MIRRED_EGRESS_REDIRECT, MIRRED_DOING_OFFSET)
  mirred.writeUInt32LE(toIndex, MIRRED_LINK_OFFSET)
  const action = nested([
    [ACTION.kind, text('mirred')],
    [ACTION.options, nested([[MIRRED_PARMS, mirred]])],
  ])
  return [
    add(RTM.newQdisc, header({ index, handle: INGRESS_HANDLE, parent: INGRESS }), [[TCA.kind, text('ingress')]]),
    add(RTM.newFilter, header({ index, parent: INGRESS_HANDLE, info: EVERYTHING_FIRST }), [
      [TCA.kind, text('u32')],
      [
        TCA.options,
        nested([
          [U32.selector, selector],
          [U32.action, nested([[1, action]])],
        ]),
      ],
    ]),
  ]
}

/** The qdisc that packets wait in as they leave a link; the answer is empty where it is none that could be configured. */
export function getRootQdisc(index: number): NetlinkRequest {
  return { type: RTM.getQdisc, flags: NLM_F_ECHO, payload: header({ index, parent: ROOT }) }
}

/** The filters that packets pass as they arrive at a link, in the order in which they do. */
export function dumpIngressFilters(index: number): NetlinkRequest {
  return { type: RTM.getFilter, flags: 0, payload: header({ index, parent: INGRESS_HANDLE }) }
}

type Attribute = readonly [type: number, value: Buffer]

function add(type: number, head: Buffer, attributes: readonly Attribute[]): NetlinkRequest {
  return { type, flags: NLM_F_CREATE | NLM_F_EXCL, payload: payload(head, nested(attributes)) }
}

interface Header {
  readonly index: number
  readonly handle?: number
  readonly parent: number
  readonly info?: number
}

function header({ index, handle = 0, parent, info = 0 }: Header): Buffer {
  const bytes = Buffer.alloc(TC_HEADER_BYTES)
  bytes.writeInt32LE(index, 4)
  bytes.writeUInt32LE(handle, 8)
  bytes.writeUInt32LE(parent, 12)
  bytes.writeUInt32LE(info, 16)
  return bytes
}

function nested(attributes: readonly Attribute[]): Buffer {
  const stream = new AttrStream()
  for (const [type, value] of attributes) stream.push(type, value)
  return Buffer.concat(stream.bufs)
}

function text(value: string): Buffer {
  return Buffer.from(`${value}\0`)
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}
