-- Sessions and all that belongs to one. Rows that come with every request (entries, events,
-- requests) are appended by rowid and found through a narrow index: neighbours in time share a page,
-- so a group commit writes few pages (measured: half the CPU of tables clustered by session).

CREATE TABLE sessions (
    sid            INTEGER PRIMARY KEY,
    key            TEXT    NOT NULL UNIQUE,
    principal      TEXT    NOT NULL,
    agent          TEXT    NOT NULL,
    created_ms     INTEGER NOT NULL,
    active_ms      INTEGER NOT NULL,
    next_memory_id INTEGER NOT NULL,
    next_goal_id   INTEGER NOT NULL,
    seq            INTEGER NOT NULL,
    mode           TEXT    NOT NULL,
    last_goal      TEXT    NOT NULL,
    revision       INTEGER NOT NULL,
    extra          TEXT    NOT NULL
) STRICT;
-- No index holds a column that a turn changes.
CREATE INDEX sessions_by_owner ON sessions (principal, agent);

-- Every memory ever given an id. A row is never deleted: erased or pruned, it becomes its own
-- tombstone (kind tombstone, related_to = memory_id).
CREATE TABLE entries (
    entry      INTEGER PRIMARY KEY,
    sid        INTEGER NOT NULL REFERENCES sessions (sid),
    memory_id  INTEGER NOT NULL,
    kind       TEXT    NOT NULL,
    role       TEXT    NOT NULL,
    content    TEXT    NOT NULL,
    created_ms INTEGER NOT NULL,
    in_ram     INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    name       TEXT,
    related_to INTEGER,
    sources    TEXT    NOT NULL, -- JSON array of memory ids
    UNIQUE (sid, memory_id)
) STRICT;
CREATE INDEX entries_in_ram ON entries (sid) WHERE in_ram = 1;
-- Summaries come first in a recall, and messages are counted as all entries less these.
CREATE INDEX entries_derived ON entries (sid, memory_id) WHERE kind <> 'entry';

-- A replaced text is kept, and what a memory is never changes.
CREATE TABLE versions (
    sid       INTEGER NOT NULL REFERENCES sessions (sid),
    memory_id INTEGER NOT NULL,
    version   INTEGER NOT NULL,
    content   TEXT    NOT NULL,
    operation TEXT    NOT NULL,
    actor     TEXT    NOT NULL,
    at_ms     INTEGER NOT NULL,
    PRIMARY KEY (sid, memory_id, version)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER entries_keep_identity
BEFORE UPDATE OF kind, role ON entries
WHEN (NEW.kind <> OLD.kind OR NEW.role <> OLD.role)
    AND NOT (NEW.kind = 'tombstone' AND NEW.related_to IS NEW.memory_id)
BEGIN
    SELECT RAISE(ABORT, 'a memory cannot change its kind or role');
END;

CREATE TRIGGER entries_keep_versions
BEFORE UPDATE OF content, version ON entries
WHEN (NEW.content <> OLD.content OR NEW.version <> OLD.version)
    AND NOT (NEW.kind = 'tombstone' AND NEW.related_to IS NEW.memory_id)
BEGIN
    SELECT RAISE(ABORT, 'a changed memory needs a higher version') WHERE NEW.version <= OLD.version;
    -- A VersionRecord adds operation and actor. (OR IGNORE would not do here: the conflict clause of the
    -- statement that fires a trigger overrules the trigger's own.)
    INSERT INTO versions (sid, memory_id, version, content, operation, actor, at_ms)
    SELECT OLD.sid, OLD.memory_id, OLD.version, OLD.content, 'update', '', OLD.created_ms
    WHERE NOT EXISTS (
        SELECT 1 FROM versions
        WHERE sid = OLD.sid AND memory_id = OLD.memory_id AND version = OLD.version
    );
END;

CREATE TABLE events (
    event      INTEGER PRIMARY KEY,
    sid        INTEGER NOT NULL REFERENCES sessions (sid),
    seq        INTEGER NOT NULL,
    type       TEXT    NOT NULL,
    request    TEXT    NOT NULL,
    frame      TEXT    NOT NULL,
    created_ms INTEGER NOT NULL,
    UNIQUE (sid, seq)
) STRICT;

CREATE TABLE requests (
    place      INTEGER PRIMARY KEY,
    sid        INTEGER NOT NULL REFERENCES sessions (sid),
    request    TEXT    NOT NULL,
    type       TEXT    NOT NULL,
    digest     TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    seq        INTEGER NOT NULL,
    memory_id  INTEGER,
    goal_id    INTEGER,
    created_ms INTEGER NOT NULL,
    UNIQUE (sid, request)
) STRICT;
CREATE INDEX requests_open ON requests (sid) WHERE state = 'open';

CREATE TABLE goals (
    sid          INTEGER NOT NULL REFERENCES sessions (sid),
    goal_id      INTEGER NOT NULL,
    request      TEXT    NOT NULL,
    text         TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    memory_id    INTEGER NOT NULL,
    created_ms   INTEGER NOT NULL,
    deadline_ms  INTEGER NOT NULL,
    ended_ms     INTEGER,
    pause_before INTEGER,
    PRIMARY KEY (sid, goal_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX goals_open ON goals (sid) WHERE state IN ('queued', 'running', 'interrupted');

CREATE TABLE tasks (
    sid        INTEGER NOT NULL REFERENCES sessions (sid),
    goal_id    INTEGER NOT NULL,
    task_id    INTEGER NOT NULL,
    title      TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    attempts   INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    started_ms INTEGER,
    ended_ms   INTEGER,
    detail     TEXT    NOT NULL,
    code       TEXT,
    PRIMARY KEY (sid, goal_id, task_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE archives (
    archive        INTEGER PRIMARY KEY,
    sid            INTEGER NOT NULL REFERENCES sessions (sid),
    at_ms          INTEGER NOT NULL,
    reason         TEXT    NOT NULL,
    next_memory_id INTEGER NOT NULL,
    entry_count    INTEGER NOT NULL,
    summary_count  INTEGER NOT NULL,
    cleared        INTEGER NOT NULL
) STRICT;
CREATE INDEX archives_by_time ON archives (sid, at_ms);

-- What was removed, when and why; never pruned.
CREATE TABLE removals (
    removal INTEGER PRIMARY KEY,
    sid     INTEGER NOT NULL REFERENCES sessions (sid),
    kind    TEXT    NOT NULL, -- memory, event, request or archive
    first   INTEGER NOT NULL, -- lowest and highest memory id, seq or rowid that went
    last    INTEGER NOT NULL,
    count   INTEGER NOT NULL,
    reason  TEXT    NOT NULL,
    at_ms   INTEGER NOT NULL
) STRICT;
CREATE INDEX removals_by_session ON removals (sid);

-- How often writing became possible again after a fault of the disk; also what a retry writes.
CREATE TABLE health (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    recoveries INTEGER NOT NULL
) STRICT;
INSERT INTO health (one, recoveries) VALUES (1, 0);
