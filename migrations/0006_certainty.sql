-- Where a run's model hesitated over its answer: from it records are sure or to be checked.
ALTER TABLE run ADD COLUMN hesitations TEXT;     -- JSON: [code point of the answer, log-probability]; NULL: not asked
