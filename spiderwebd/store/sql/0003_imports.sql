-- What was imported from the program before this one, so that doing it again changes nothing.

CREATE TABLE imports (
    session  TEXT    NOT NULL, -- its session id there
    moment   INTEGER NOT NULL, -- timestamp of the snapshot, -1 for the session-state file
    digest   TEXT    NOT NULL, -- of the snapshot's content
    sid      INTEGER NOT NULL REFERENCES sessions (sid),
    at_ms    INTEGER NOT NULL,
    PRIMARY KEY (session, moment, digest)
) STRICT, WITHOUT ROWID;
