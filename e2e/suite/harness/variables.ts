/** What `npm run e2e` tells the suite: the file that describes the cluster, and what its pod network is. */
export const CLUSTER_VARIABLE = 'TULLE_E2E_CLUSTER'
export const NETWORK_VARIABLE = 'TULLE_E2E_NETWORK'
/** Where figures are written, one JSON document on each line. */
export const FIGURES_VARIABLE = 'TULLE_E2E_FIGURES'
/** How long the API server is away: 20 s when absent, which is what CI has time for; 120 to be thorough. */
export const API_AWAY_VARIABLE = 'TULLE_E2E_API_AWAY_SECONDS'
