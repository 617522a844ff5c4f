import type { V1Container, V1Pod } from '@kubernetes/client-node'
import { TEST_IMAGE } from '../../cluster/images.ts'

/** The port of agnhost's HTTP server, whose `/clientip` says who asked. */
export const HTTP_PORT = 8080
/** The port of its UDP server, which knows `echo` and `clientip`. */
export const UDP_PORT = 8081

export interface PodOptions {
  readonly name: string
  /** Any node when absent. */
  readonly nodeName?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  readonly hostNetwork?: boolean
  readonly hostPort?: number
  /** agnhost's own subcommand and its arguments; the servers on HTTP_PORT and UDP_PORT when absent. */
  readonly args?: readonly string[]
}

/** A pod with agnhost: it serves HTTP and UDP, and has the programs that a test runs in it. */
export function serverPod({ name, nodeName, labels, annotations, hostNetwork, ...rest }: PodOptions): V1Pod {
  return {
    metadata: {
      name,
      labels: { app: name, ...labels },
      ...(annotations === undefined ? {} : { annotations: { ...annotations } }),
    },
    spec: {
      ...(nodeName === undefined ? {} : { nodeName }),
      ...(hostNetwork === undefined ? {} : { hostNetwork }),
      terminationGracePeriodSeconds: 1,
      // A node that is away for a moment does not cost the pod its life.
      tolerations: [{ operator: 'Exists' }],
      containers: [serverContainer(rest)],
    },
  }
}

export function serverContainer({ hostPort, args }: Pick<PodOptions, 'hostPort' | 'args'>): V1Container {
  return {
    name: 'agnhost',
    image: TEST_IMAGE,
    imagePullPolicy: 'Never',
    args: [...(args ?? ['netexec', `--http-port=${HTTP_PORT}`, `--udp-port=${UDP_PORT}`])],
    ports: [
      { name: 'http', containerPort: HTTP_PORT, ...(hostPort === undefined ? {} : { hostPort }) },
      { name: 'udp', containerPort: UDP_PORT, protocol: 'UDP' },
    ],
    ...(args === undefined
      ? { readinessProbe: { httpGet: { path: '/healthz', port: HTTP_PORT }, periodSeconds: 1, failureThreshold: 30 } }
      : {}),
  }
}

/** A pod with nginx on HTTP_PORT that hands every request on to port 80 of `upstream`, as ingress controllers do. */
export function reverseProxyPod({
  upstream,
  ...options
}: Pick<PodOptions, 'name' | 'nodeName' | 'hostPort'> & { readonly upstream: string }): V1Pod {
  const pod = serverPod(options)
  const folders = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(name => `${name}_temp_path /tmp/${name};`)
  const configuration = `
    daemon off; user root; pid /tmp/nginx.pid;
    events {}
    http {
      access_log off; ${folders.join(' ')}
      server {
        listen ${HTTP_PORT}; listen [::]:${HTTP_PORT};
        location = /healthz { return 200; }
        location / { proxy_pass http://${upstream}; proxy_set_header X-Forwarded-For $remote_addr; }
      }
    }`
  const start = 'printf %s "$0" >/tmp/nginx.conf; exec nginx -e stderr -c /tmp/nginx.conf'
  for (const container of pod.spec?.containers ?? []) {
    container.command = ['bash', '-c', start, configuration]
    delete container.args
  }
  return pod
}
