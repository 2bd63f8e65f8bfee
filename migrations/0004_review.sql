-- A text that a person has gone through: what is not judged in it is not in its gold, and nothing is missing there.
CREATE TABLE review (
    document_id TEXT NOT NULL REFERENCES document (id) ON DELETE CASCADE,
    owner_id    INTEGER NOT NULL REFERENCES owner (id),
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (document_id, owner_id)
) STRICT;

-- What a person changed of the graph of a session's texts: names drawn together, and apart.
CREATE TABLE graph_edits (
    session_id TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
    owner_id   INTEGER NOT NULL REFERENCES owner (id),
    edits      TEXT NOT NULL,                    -- JSON, by node ids
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (session_id, owner_id)
) STRICT;
