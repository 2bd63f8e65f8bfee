-- An extraction is one text asked for a whole schema with one variant; it owns the runs that it took. A run without one
-- is its own, as all were before.

CREATE TABLE extraction (
    id             TEXT PRIMARY KEY,
    owner_id       INTEGER NOT NULL REFERENCES owner (id),
    session_id     TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
    document_id    TEXT NOT NULL REFERENCES document (id) ON DELETE CASCADE,
    variant        TEXT NOT NULL CHECK (variant IN ('base', 'tuned')),
    schema         TEXT NOT NULL,                -- JSON, as asked: the format of schema files
    schema_name    TEXT NOT NULL,                -- empty when it was never saved
    schema_id      TEXT,                         -- of `schema`, or the name of a ready one
    schema_version INTEGER,
    created_at     INTEGER NOT NULL
) STRICT;
CREATE INDEX extraction_by_session ON extraction (session_id);
CREATE INDEX extraction_by_document ON extraction (document_id);

ALTER TABLE run ADD COLUMN extraction_id TEXT REFERENCES extraction (id) ON DELETE CASCADE;
ALTER TABLE run ADD COLUMN task TEXT CHECK (task IN ('ner', 're', 'ee'));
ALTER TABLE run ADD COLUMN part_start INTEGER;   -- of the text, in code points; NULL: all of it
ALTER TABLE run ADD COLUMN part_end INTEGER;
CREATE INDEX run_by_extraction ON run (extraction_id);
CREATE INDEX run_by_document ON run (document_id);

-- What to extract, as people save it. What a version asks for never changes.
CREATE TABLE schema (
    id         TEXT PRIMARY KEY,
    owner_id   INTEGER NOT NULL REFERENCES owner (id),
    name       TEXT NOT NULL,
    language   TEXT CHECK (language IN ('en', 'zh')),    -- NULL: that of each text
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER                           -- set: deleted, can be brought back until it is purged
) STRICT;
CREATE INDEX schema_by_owner ON schema (owner_id);

CREATE TABLE schema_version (
    schema_id  TEXT NOT NULL REFERENCES schema (id) ON DELETE CASCADE,
    version    INTEGER NOT NULL,                 -- from 1
    owner_id   INTEGER NOT NULL REFERENCES owner (id),
    json       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (schema_id, version)
) STRICT;
