-- Ranked text search over entries. The index holds no text (content=''), so to take a document out
-- again its text is derived once more: `indexed` says from which versions it was made.

CREATE VIRTUAL TABLE entries_fts USING fts5 (
    scope, speaker, body, before, day,
    content = '', tokenize = 'porter unicode61'
);
CREATE VIRTUAL TABLE entries_vocabulary USING fts5vocab (entries_fts, row);

CREATE TABLE indexed (
    entry          INTEGER PRIMARY KEY REFERENCES entries (entry),
    version        INTEGER NOT NULL,
    name           TEXT,
    first          INTEGER, -- the entry just before it in its session, and its version then
    first_version  INTEGER,
    second         INTEGER, -- the one before that
    second_version INTEGER
) STRICT;

-- Entries below the watermark whose document is out of date.
CREATE TABLE reindex (
    entry INTEGER PRIMARY KEY REFERENCES entries (entry)
) STRICT;

CREATE TABLE index_state (
    one       INTEGER PRIMARY KEY CHECK (one = 1),
    watermark INTEGER NOT NULL, -- every entry up to this one is indexed, unless it is in reindex
    documents INTEGER NOT NULL,
    words     INTEGER NOT NULL,
    purge     INTEGER NOT NULL  -- 1: erased words may still stand in old segments
) STRICT;
INSERT INTO index_state (one, watermark, documents, words, purge) VALUES (1, 0, 0, 0, 0);

-- A name is part of the document as the text is, and changes without leaving an old version.
CREATE TRIGGER entries_renew_document
AFTER UPDATE OF version, name ON entries
WHEN NEW.version <> OLD.version OR NEW.name IS NOT OLD.name
BEGIN
    INSERT INTO reindex (entry) SELECT entry FROM indexed
    WHERE entry = NEW.entry AND entry NOT IN (SELECT entry FROM reindex);
END;
