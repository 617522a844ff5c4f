/**
 * The tables of version 1. Whatever the allocator decides, they refuse a second lease of an address, a second lease of an
 * attachment, and a block that overlaps another one (invariant 1).
 *
 * Addresses are blobs of 4 or 16 bytes, most significant first, so that SQLite orders those of one family by value. Times
 * are unix milliseconds.
 */
export const MIGRATION_1 = `
CREATE TABLE block (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  pool TEXT NOT NULL,
  family INTEGER NOT NULL CHECK (family IN (4, 6)),
  prefix TEXT NOT NULL UNIQUE,
  first_address BLOB NOT NULL CHECK (length(first_address) = iif(family = 4, 4, 16)),
  last_address BLOB NOT NULL CHECK (length(last_address) = length(first_address) AND last_address >= first_address),
  taken_at_unix_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX block_by_range ON block (family, first_address);

CREATE TRIGGER block_overlaps_none_when_inserted BEFORE INSERT ON block
BEGIN
  SELECT RAISE(ABORT, 'block overlaps another block') FROM block
  WHERE family = NEW.family AND first_address <= NEW.last_address AND last_address >= NEW.first_address;
END;
CREATE TRIGGER block_is_never_changed BEFORE UPDATE ON block
BEGIN
  SELECT RAISE(ABORT, 'a block is never changed');
END;

CREATE TABLE lease (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  network TEXT NOT NULL,
  container_id TEXT NOT NULL,
  if_name TEXT NOT NULL,
  pool TEXT NOT NULL,
  leased_at_unix_ms INTEGER NOT NULL,
  pod_namespace TEXT,
  pod_name TEXT,
  pod_uid TEXT,
  -- What "this boot" was when the lease began: a lease of an older boot may be stale (checklist R1).
  boot_id TEXT NOT NULL,
  init_start_ticks INTEGER NOT NULL,
  host_netns_inode INTEGER NOT NULL,
  UNIQUE (network, container_id, if_name)
) STRICT;

CREATE TABLE lease_address (
  address BLOB NOT NULL PRIMARY KEY,
  lease INTEGER NOT NULL REFERENCES lease (id) ON DELETE RESTRICT,
  family INTEGER NOT NULL CHECK (family IN (4, 6)),
  block INTEGER NOT NULL REFERENCES block (id) ON DELETE RESTRICT,
  UNIQUE (lease, family)
) STRICT, WITHOUT ROWID;
CREATE INDEX lease_address_by_block ON lease_address (block);

-- Addresses that were leased once and are not now, least recently freed first by id: the order of reuse, and the cooldown.
CREATE TABLE freed_address (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  address BLOB NOT NULL UNIQUE,
  block INTEGER NOT NULL REFERENCES block (id) ON DELETE CASCADE,
  freed_at_unix_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX freed_address_by_block ON freed_address (block);

CREATE TRIGGER lease_address_is_in_its_block BEFORE INSERT ON lease_address
WHEN NOT EXISTS (
  SELECT 1 FROM block
  WHERE id = NEW.block AND family = NEW.family AND length(first_address) = length(NEW.address)
    AND NEW.address BETWEEN first_address AND last_address
)
BEGIN
  SELECT RAISE(ABORT, 'address is not in its block');
END;
CREATE TRIGGER lease_address_is_not_freed BEFORE INSERT ON lease_address
WHEN EXISTS (SELECT 1 FROM freed_address WHERE address = NEW.address)
BEGIN
  SELECT RAISE(ABORT, 'address is freed and leased at once');
END;
CREATE TRIGGER lease_address_is_never_changed BEFORE UPDATE ON lease_address
BEGIN
  SELECT RAISE(ABORT, 'the address of a lease is never changed');
END;
CREATE TRIGGER freed_address_is_not_leased BEFORE INSERT ON freed_address
WHEN EXISTS (SELECT 1 FROM lease_address WHERE address = NEW.address)
BEGIN
  SELECT RAISE(ABORT, 'address is freed and leased at once');
END;

-- Every change, one row for each address, so that "who held 10.244.1.7 at 14:03?" is one query.
CREATE TABLE event (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at_unix_ms INTEGER NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('block-taken', 'leased', 'released')),
  reason TEXT,
  pool TEXT NOT NULL,
  block TEXT NOT NULL,
  address BLOB,
  network TEXT,
  container_id TEXT,
  if_name TEXT,
  pod_namespace TEXT,
  pod_name TEXT,
  pod_uid TEXT
) STRICT;
CREATE INDEX event_by_address ON event (address, at_unix_ms) WHERE address IS NOT NULL;
`
