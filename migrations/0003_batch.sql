-- A batch is a file of texts put through one schema. Its session holds the texts, and what was found in those that are done.

CREATE TABLE upload (
    id         TEXT PRIMARY KEY,                 -- also the name of its rows' file below uploads/
    owner_id   INTEGER NOT NULL REFERENCES owner (id),
    name       TEXT NOT NULL,
    columns    TEXT NOT NULL,                    -- JSON, in the file's order
    row_count  INTEGER NOT NULL,
    preview    TEXT NOT NULL,                    -- JSON: the first rows, shortened
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX upload_by_owner ON upload (owner_id);

CREATE TABLE batch (
    session_id     TEXT PRIMARY KEY REFERENCES session (id) ON DELETE CASCADE,
    owner_id       INTEGER NOT NULL REFERENCES owner (id),
    schema         TEXT NOT NULL,                -- JSON: name, id and version with what it asks for
    compare        INTEGER NOT NULL,             -- 1: the base too
    parameters     TEXT NOT NULL,                -- JSON, seed always set
    columns        TEXT NOT NULL,                -- JSON: names of the columns that pass through, in the file's order
    text_column    TEXT NOT NULL,
    id_column      TEXT,
    state          TEXT NOT NULL CHECK (state IN ('running', 'stopped')),
    reason         TEXT,                         -- JSON, both languages: why it stopped by itself
    busy_ms        INTEGER NOT NULL DEFAULT 0,   -- worked on it so long,
    busy_chars     INTEGER NOT NULL DEFAULT 0,   -- and did so many code points of text
    busy_tokens    INTEGER NOT NULL DEFAULT 0,   -- with so many tokens written
    busy_rows      INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX batch_running ON batch (state) WHERE state = 'running';

CREATE TABLE batch_row (
    session_id  TEXT NOT NULL REFERENCES batch (session_id) ON DELETE CASCADE,
    position    INTEGER NOT NULL,                -- in the file, from 0
    owner_id    INTEGER NOT NULL REFERENCES owner (id),
    document_id TEXT REFERENCES document (id) ON DELETE CASCADE, -- NULL: it has no text
    line        INTEGER NOT NULL,
    row_id      TEXT NOT NULL,                   -- JSON: text or number
    extra       TEXT NOT NULL,                   -- JSON: its other columns
    chars       INTEGER NOT NULL,
    wanted      INTEGER NOT NULL,                -- 1: to be done, 0: not asked for yet
    state       TEXT NOT NULL CHECK (state IN ('waiting', 'done', 'nothing', 'failed')),
    error       TEXT,                            -- JSON, both languages
    found       INTEGER NOT NULL DEFAULT 0,      -- records
    PRIMARY KEY (session_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX batch_row_by_state ON batch_row (session_id, state, wanted, position);
CREATE INDEX batch_row_by_document ON batch_row (document_id);
