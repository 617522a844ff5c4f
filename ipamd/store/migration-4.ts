/** Version 4: blocks that other nodes were granted, and that an upstream granted to this one. */
export const MIGRATION_4 = `
-- The other node that the block was granted to. NULL: it is this node's.
ALTER TABLE block ADD COLUMN node TEXT;

CREATE TRIGGER lease_address_is_in_a_block_of_this_node BEFORE INSERT ON lease_address
WHEN EXISTS (SELECT 1 FROM block WHERE id = NEW.block AND node IS NOT NULL)
BEGIN
  SELECT RAISE(ABORT, 'the block of the address is another node''s');
END;

CREATE TABLE grantee (
  node TEXT NOT NULL PRIMARY KEY,
  instance TEXT NOT NULL,
  sequence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE upstream (
  pool TEXT NOT NULL PRIMARY KEY,
  -- Of the last request.
  sequence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`
