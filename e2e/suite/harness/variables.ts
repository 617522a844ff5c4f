/** What `npm run e2e` tells the suite: the file that describes the cluster, and what its pod network is. */
export const CLUSTER_VARIABLE = 'TULLE_E2E_CLUSTER'
export const NETWORK_VARIABLE = 'TULLE_E2E_NETWORK'
