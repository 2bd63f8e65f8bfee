-- How far the variants or samples of a row's text disagree, which orders its review too. Doubts are looked at again, and with
-- them this.
ALTER TABLE batch_row ADD COLUMN differs INTEGER NOT NULL DEFAULT 0;
UPDATE batch_row SET doubt = -1 WHERE doubt >= 0;
CREATE INDEX batch_row_by_differs ON batch_row (session_id, differs DESC, position);
