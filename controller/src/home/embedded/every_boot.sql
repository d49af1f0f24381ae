-- Layout 2: tokens that work whenever their node starts.
ALTER TABLE tokens ADD COLUMN every_boot INTEGER NOT NULL DEFAULT 0 CHECK (every_boot IN (0, 1));
