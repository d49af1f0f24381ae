-- Layout 1 of Placet's database. Times are RFC 3339 in UTC; JSON is text.

-- Single numbers: `epoch`, raised at every opening, and `resource_version`, raised at every write.
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta (key, value) VALUES ('epoch', 0), ('resource_version', 0);

-- The resources. `owner` says who declares a resource; the resources that a GitSource owns are its
-- inventory, and what leaves the repository is pruned among them alone.
CREATE TABLE objects (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    uid TEXT NOT NULL UNIQUE,
    generation INTEGER NOT NULL,
    resource_version INTEGER NOT NULL,
    created TEXT NOT NULL,
    owner TEXT NOT NULL CHECK (owner IN ('git', 'person', 'controller')),
    owner_name TEXT NOT NULL,
    labels TEXT NOT NULL CHECK (json_valid(labels)),
    annotations TEXT NOT NULL CHECK (json_valid(annotations)),
    spec TEXT NOT NULL CHECK (json_valid(spec)),
    status TEXT NOT NULL CHECK (json_valid(status)),
    PRIMARY KEY (kind, name)
) STRICT;
CREATE INDEX objects_by_owner ON objects (owner, owner_name);

-- What happened, the latest of it.
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    time TEXT NOT NULL,
    event TEXT NOT NULL,
    rollout TEXT NOT NULL,
    data TEXT NOT NULL CHECK (json_valid(data))
) STRICT;
CREATE INDEX events_by_rollout ON events (rollout, sequence);

-- Join tokens; of the secret only its SHA-256 is kept.
CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    secret_hash TEXT NOT NULL,
    node TEXT NOT NULL,
    may_replace INTEGER NOT NULL CHECK (may_replace IN (0, 1)),
    created TEXT NOT NULL,
    expires TEXT NOT NULL,
    used TEXT
) STRICT;

-- The nodes that have joined, with the token that they joined with last.
CREATE TABLE members (
    node TEXT PRIMARY KEY,
    token TEXT NOT NULL REFERENCES tokens (id),
    joined TEXT NOT NULL
) STRICT;
