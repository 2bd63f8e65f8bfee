-- The adapter that a batch was begun with answers all of it, whatever is loaded later. NULL: the base alone.
ALTER TABLE batch ADD COLUMN adapter TEXT;
UPDATE batch SET adapter = (SELECT r.adapter FROM run r
    WHERE r.session_id = batch.session_id AND r.adapter IS NOT NULL ORDER BY r.id LIMIT 1);

-- Texts and runs of a session are read in the order of their ids.
CREATE INDEX document_in_session ON document (session_id, id);
DROP INDEX document_by_session;
CREATE INDEX run_in_session ON run (session_id, id);
DROP INDEX run_by_session;

-- Counting is done from the index alone, once a second while a batch is looked at.
CREATE INDEX batch_row_counts ON batch_row (session_id, state, wanted, document_id, chars);

-- A closed link shows nothing any more, so nothing is kept for it.
UPDATE share SET snapshot = '' WHERE revoked_at IS NOT NULL;
