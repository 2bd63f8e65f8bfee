-- Work on model files: one job is one operation, as a person asked for it.

CREATE TABLE job (
    id         TEXT PRIMARY KEY,                 -- in the order in which they were asked for
    owner_id   INTEGER NOT NULL REFERENCES owner (id),
    request    TEXT NOT NULL,                    -- JSON: the form as it was entered
    place      TEXT,                             -- what it writes; NULL: nothing
    state      TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'stopped', 'done', 'failed')),
    cut_off    INTEGER NOT NULL DEFAULT 0,       -- how often the server ended while it was being worked on
    progress   TEXT,                             -- JSON: how far it was when it stopped
    notes      TEXT NOT NULL DEFAULT '[]',       -- JSON
    error      TEXT,                             -- JSON, both languages
    outcome    TEXT,                             -- JSON
    created_at INTEGER NOT NULL,
    busy_ms    INTEGER NOT NULL DEFAULT 0        -- worked on so long
) STRICT;
CREATE INDEX job_by_owner ON job (owner_id);
CREATE INDEX job_going ON job (state) WHERE state IN ('waiting', 'running');
