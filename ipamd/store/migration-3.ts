/** Version 3: the ranges that were handed over for a pool, and the history of a container without reading all of it. */
export const MIGRATION_3 = `
CREATE TABLE pod_cidr (
  family INTEGER NOT NULL PRIMARY KEY CHECK (family IN (4, 6)),
  pool TEXT NOT NULL,
  prefix TEXT NOT NULL
) STRICT;

CREATE INDEX event_by_container ON event (container_id) WHERE container_id IS NOT NULL;
`
