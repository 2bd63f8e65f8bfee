-- Links to saved schemas: each shows one version, and what a version asks for never changes.
CREATE TABLE schema_share (
    id         TEXT PRIMARY KEY,
    owner_id   INTEGER NOT NULL REFERENCES owner (id),
    schema_id  TEXT NOT NULL REFERENCES schema (id) ON DELETE CASCADE,
    version    INTEGER NOT NULL,
    token_hash TEXT NOT NULL UNIQUE,             -- sha256 of the token; the token itself is nowhere
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;
CREATE INDEX schema_share_by_schema ON schema_share (schema_id);
