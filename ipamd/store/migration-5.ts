/** Version 5: how the wall clock stood, so that one that was set while the daemon was down is seen. */
export const MIGRATION_5 = `
CREATE TABLE clock (
  only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
  boot_id TEXT NOT NULL,
  -- What the wall clock said when the machine booted, by the clock under which the moments in this store are right.
  booted_at_unix_ms INTEGER NOT NULL
) STRICT;
`
