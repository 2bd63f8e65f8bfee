-- Times are milliseconds since 1970, ids UUIDs (version 7) as text. Every row that belongs to someone has owner_id.

CREATE TABLE owner (
    id            INTEGER PRIMARY KEY,
    name          TEXT NOT NULL UNIQUE COLLATE NOCASE,
    password_hash TEXT,                          -- NULL until set through the one-time link
    created_at    INTEGER NOT NULL
) STRICT;

-- The person at the keyboard.
INSERT INTO owner (id, name, created_at) VALUES (1, 'owner', 0);

CREATE TABLE session (
    id         TEXT PRIMARY KEY,
    owner_id   INTEGER NOT NULL REFERENCES owner (id),
    title      TEXT NOT NULL,
    page       TEXT NOT NULL CHECK (page IN ('extract', 'complete', 'compare')),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER                           -- set: deleted, can be brought back until it is purged
) STRICT;
CREATE INDEX session_by_owner ON session (owner_id, updated_at);

CREATE TABLE document (
    id         TEXT PRIMARY KEY,
    owner_id   INTEGER NOT NULL REFERENCES owner (id),
    session_id TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
    text       TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX document_by_session ON document (session_id);

CREATE TABLE run (
    id                TEXT PRIMARY KEY,
    owner_id          INTEGER NOT NULL REFERENCES owner (id),
    session_id        TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
    document_id       TEXT REFERENCES document (id) ON DELETE CASCADE,
    mode              TEXT NOT NULL CHECK (mode IN ('pretrain', 'lora')),
    variant           TEXT NOT NULL CHECK (variant IN ('base', 'tuned')),
    model             TEXT NOT NULL,
    adapter           TEXT,
    schema            TEXT,                      -- JSON, as asked
    instruction       TEXT NOT NULL,
    prompt            TEXT NOT NULL,             -- exactly as the model got it
    parameters        TEXT NOT NULL,             -- JSON, seed always set
    status            TEXT NOT NULL
        CHECK (status IN ('queued', 'running', 'finished', 'cancelled', 'interrupted', 'failed')),
    finish_reason     TEXT,
    error             TEXT,
    text              TEXT NOT NULL DEFAULT '',
    prompt_tokens     INTEGER,
    completion_tokens INTEGER NOT NULL DEFAULT 0,
    timings           TEXT,                      -- JSON
    created_at        INTEGER NOT NULL,
    ended_at          INTEGER
) STRICT;
CREATE INDEX run_by_session ON run (session_id);
CREATE INDEX run_unfinished ON run (status) WHERE status IN ('queued', 'running');

CREATE TABLE judgement (
    document_id TEXT NOT NULL REFERENCES document (id) ON DELETE CASCADE,
    record_key  TEXT NOT NULL,                   -- of the record judged: one judgement for each
    owner_id    INTEGER NOT NULL REFERENCES owner (id),
    judgement   TEXT NOT NULL,                   -- JSON
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (document_id, record_key)
) STRICT;

CREATE TABLE share (
    id         TEXT PRIMARY KEY,
    owner_id   INTEGER NOT NULL REFERENCES owner (id),
    session_id TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
    token_hash TEXT NOT NULL UNIQUE,             -- sha256 of the token; the token itself is nowhere
    note       TEXT NOT NULL,
    snapshot   TEXT NOT NULL,                    -- JSON, frozen
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;
CREATE INDEX share_by_session ON share (session_id);
