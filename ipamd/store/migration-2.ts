/**
 * Version 2: reservations, addresses that are kept for their last owner, blocks that are given back, and the details of why
 * a lease ended.
 *
 * The table of events is made anew, because SQLite can not change a CHECK. The copy costs a second for a million rows, once.
 */
export const MIGRATION_2 = `
-- Who may have the address again, and which plugin asked for it.
ALTER TABLE lease ADD COLUMN owner TEXT;
ALTER TABLE lease ADD COLUMN sticky_seconds INTEGER NOT NULL DEFAULT 0;
ALTER TABLE lease ADD COLUMN via TEXT;

-- For whom, and for how long after freed_at_unix_ms, the address is kept.
ALTER TABLE freed_address ADD COLUMN owner TEXT;
ALTER TABLE freed_address ADD COLUMN sticky_seconds INTEGER NOT NULL DEFAULT 0;

-- Addresses that only a request with the same owner gets.
CREATE TABLE reservation (
  address BLOB NOT NULL PRIMARY KEY CHECK (length(address) IN (4, 16)),
  pool TEXT NOT NULL,
  owner TEXT NOT NULL CHECK (owner <> ''),
  note TEXT,
  reserved_at_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER lease_address_is_not_reserved_for_another_owner BEFORE INSERT ON lease_address
WHEN EXISTS (
  SELECT 1 FROM reservation
  WHERE address = NEW.address AND owner IS NOT (SELECT owner FROM lease WHERE id = NEW.lease)
)
BEGIN
  SELECT RAISE(ABORT, 'address is reserved for another owner');
END;

ALTER TABLE event RENAME TO event_of_version_1;
DROP INDEX event_by_address;
-- Every change, one row for each address, so that "who held 10.244.1.7 at 14:03?" is one query.
CREATE TABLE event (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at_unix_ms INTEGER NOT NULL,
  kind TEXT NOT NULL
    CHECK (kind IN ('block-taken', 'block-returned', 'leased', 'released', 'reserved', 'unreserved')),
  reason TEXT,
  -- For a person: what the reconciler saw, or the note of a reservation.
  detail TEXT,
  pool TEXT NOT NULL,
  -- Of everything but a reservation, which outlives blocks.
  block TEXT,
  address BLOB,
  network TEXT,
  container_id TEXT,
  if_name TEXT,
  pod_namespace TEXT,
  pod_name TEXT,
  pod_uid TEXT,
  owner TEXT
) STRICT;
INSERT INTO event (id, at_unix_ms, kind, reason, pool, block, address, network, container_id, if_name,
    pod_namespace, pod_name, pod_uid)
  SELECT id, at_unix_ms, kind, reason, pool, block, address, network, container_id, if_name,
    pod_namespace, pod_name, pod_uid
  FROM event_of_version_1 ORDER BY id;
DROP TABLE event_of_version_1;
CREATE INDEX event_by_address ON event (address, at_unix_ms) WHERE address IS NOT NULL;
`
