import { formatAddress } from '../net/address.ts'
import { formatPrefix, type Prefix } from '../net/prefix.ts'
import { LINK_GROUP, ROUTE_PROTOCOL, UNREACHABLE_METRIC } from './marks.ts'
import { renderElements } from './nft-set.ts'
import { placeOf, type AddRoute, type DeleteRoute, type HostUdpPort, type Operation, type Plan } from './operation.ts'

/** Renders `operation` as the ip(8), tc(8), sysctl(8), nft(8) or conntrack(8) command that does the same, without saying where it happens. */
export function renderCommand(operation: Operation): string {
  switch (operation.do) {
    case 'add-veth': {
      const { hostIfName, hostMac, hostMtuBytes, podIfName, podMac, podMtuBytes } = operation
      const host = `ip link add ${hostIfName} group ${LINK_GROUP} address ${hostMac} mtu ${hostMtuBytes}`
      return `${host} type veth peer name ${podIfName} address ${podMac} mtu ${podMtuBytes} netns pod`
    }
    case 'add-bridge':
      return `ip link add ${operation.link} group ${LINK_GROUP} address ${operation.mac} mtu ${operation.mtuBytes} type bridge`
    case 'add-bridge-port':
      return `ip link set dev ${operation.link} master ${operation.bridge}`
    case 'add-forwarding':
      return `bridge fdb add ${operation.mac} dev ${operation.link} master static`
    case 'set-bridge-port': {
      const { hairpin, isolated, locked } = operation
      const flags = [hairpin && ' hairpin on', isolated && ' isolated on', locked && ' learning off locked on']
      return `bridge link set dev ${operation.link}${flags.filter(Boolean).join('')}`
    }
    case 'add-shaper': {
      const { link, bytesPerSecond, burstBytes, limitBytes } = operation
      return `tc qdisc add dev ${link} root tbf rate ${bytesPerSecond}bps burst ${burstBytes} limit ${limitBytes}`
    }
    case 'add-ifb':
      return `ip link add ${operation.link} group ${LINK_GROUP} mtu ${operation.mtuBytes} type ifb`
    case 'redirect-ingress': {
      const { link, to } = operation
      const filter = `tc filter add dev ${link} parent ffff: protocol all prio 1 u32 match u32 0 0`
      return `tc qdisc add dev ${link} ingress; ${filter} action mirred egress redirect dev ${to}`
    }
    case 'delete-link':
      return `ip link delete dev ${operation.link}`
    case 'set-link': {
      const alias = operation.alias === undefined ? '' : ` alias '${operation.alias}'`
      return `ip link set dev ${operation.link}${alias}${operation.promiscuous ? ' promisc on' : ''}${operation.up ? ' up' : ''}`
    }
    case 'disable-link-local':
      return `ip link set dev ${operation.link} addrgenmode none`
    case 'set-sysctl':
      return `sysctl -w ${operation.key}=${operation.value}`
    case 'add-address': {
      const nodad = operation.address.address.family === 6 ? ' nodad' : ''
      const scope = operation.isHostScope ? ' scope host' : ''
      return `ip address add ${formatPrefix(operation.address)} dev ${operation.link}${nodad}${scope}`
    }
    case 'delete-address':
      return `ip address delete ${formatPrefix(operation.address)} dev ${operation.link}`
    case 'set-neighbour': {
      const nud = operation.isLearnable ? 'reachable extern_learn' : 'permanent'
      return `ip neighbour replace ${formatAddress(operation.address)} lladdr ${operation.mac} dev ${operation.link} nud ${nud}`
    }
    case 'delete-neighbour':
      return `ip neighbour delete ${formatAddress(operation.address)} dev ${operation.link}`
    case 'add-route':
      return renderRoute('add', operation)
    case 'delete-route':
      return renderRoute('delete', operation)
    case 'add-unreachable':
      return `ip route add ${renderUnreachable(operation.block)}`
    case 'delete-unreachable':
      return `ip route delete ${renderUnreachable(operation.block)}`
    case 'add-elements':
      return renderElements('add', operation.elements, operation.owner)
    case 'delete-elements':
      return renderElements('delete', operation.elements, operation.owner)
    case 'forget-flows':
      return operation.ports.map(renderForget).join('; ')
  }
}

/** Renders `operation` with its place: `pod:  ip route add default via 169.254.1.1 dev eth0`. */
export function renderOperation(operation: Operation): string {
  return `${`${placeOf(operation)}:`.padEnd(6)}${renderCommand(operation)}`
}

/** Renders `plan` as one command a line: what an operator would type to do the same. */
export function renderPlan(plan: Plan): string {
  return plan.map(renderOperation).join('\n')
}

function renderUnreachable(block: Prefix): string {
  return `unreachable ${formatPrefix(block)} proto ${ROUTE_PROTOCOL} metric ${UNREACHABLE_METRIC}`
}

function renderForget({ hostPort, hostAddress, podAddress }: HostUdpPort): string {
  const to = hostAddress === undefined ? '' : ` --orig-dst ${formatAddress(hostAddress)}`
  return `conntrack -D -f ipv${podAddress.family} -p udp --orig-port-dst ${hostPort}${to}`
}

function renderRoute(verb: 'add' | 'delete', route: AddRoute | DeleteRoute): string {
  const { family } = route.to.address
  const isDefault = route.to.prefixLength === 0
  // "default" alone means IPv4 to ip(8).
  const ip = isDefault && family === 6 ? 'ip -6' : 'ip'
  const to = isDefault ? 'default' : formatPrefix(route.to)
  const via = route.via === undefined ? '' : ` via ${formatAddress(route.via)}`
  // IPv6 routes have no scope in the kernel.
  const scope = route.via === undefined && family === 4 ? ' scope link' : ''
  const protocol = route.at === 'host' ? ` proto ${ROUTE_PROTOCOL}` : ''
  return `${ip} route ${verb} ${to}${via} dev ${route.link}${scope}${protocol}`
}
