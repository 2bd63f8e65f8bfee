-- What the same question was answered when it was asked again with sampling: from it records are sure or to be checked.
ALTER TABLE run ADD COLUMN samples TEXT;         -- JSON: list of texts; NULL: none
