-- How doubtful what was found in a row's text is, which orders its review; -1: nobody has looked yet.
ALTER TABLE batch_row ADD COLUMN doubt INTEGER NOT NULL DEFAULT -1;
CREATE INDEX batch_row_by_doubt ON batch_row (session_id, doubt DESC, position);

-- The texts that a link to a large batch shows, with what people had said of them. Their answers never change: they are
-- not copied.
CREATE TABLE share_text (
    share_id    TEXT NOT NULL REFERENCES share (id) ON DELETE CASCADE,
    position    INTEGER NOT NULL,
    owner_id    INTEGER NOT NULL REFERENCES owner (id),
    document_id TEXT NOT NULL REFERENCES document (id) ON DELETE CASCADE,
    judgements  TEXT NOT NULL,                   -- JSON
    PRIMARY KEY (share_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX share_text_by_document ON share_text (document_id);

-- How the texts of a batch are asked about, where that is not the adapter's own way.
ALTER TABLE batch ADD COLUMN asking TEXT;        -- JSON; NULL: the adapter's own way
