-- Which memories stand in a session's working memory, apart from their texts. With every turn some enter
-- and some leave: here that changes one narrow page a session, where a flag in `entries` changed the page
-- of each old text and an index besides (measured: two fifths of what a turn of a long session writes).
-- `entries.in_ram` is not read any more; to drop the column would rewrite every text at the upgrade.

CREATE TABLE ram (
    sid       INTEGER NOT NULL REFERENCES sessions (sid),
    memory_id INTEGER NOT NULL,
    PRIMARY KEY (sid, memory_id)
) STRICT, WITHOUT ROWID;
INSERT INTO ram (sid, memory_id) SELECT sid, memory_id FROM entries WHERE in_ram = 1;
DROP INDEX entries_in_ram;
