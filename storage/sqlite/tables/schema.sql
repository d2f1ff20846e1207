-- The schema of a new database. A change here needs a migration in edition.go.
-- Times are Unix seconds; sizes are octets; a NULL limit or time inherits the
-- next wider one, a limit of 0 is none, a time of 0 is off.

-- One row, of what counts for the whole store.
CREATE TABLE store (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    least    INTEGER NOT NULL,                    -- the least schema that may still write
    validity INTEGER NOT NULL,                    -- the last one given to a folder
    noted    INTEGER NOT NULL,                    -- where the clock stood when it was looked at last; 0: never
    seen     INTEGER NOT NULL,                    -- the latest time that is known to be none of a wrong clock
    pause    INTEGER NOT NULL                     -- seconds of running for which nothing is removed because of its age
) STRICT;
INSERT INTO store VALUES (1, 1, 0, 0, 0, 0);

CREATE TABLE domain (
    id             INTEGER PRIMARY KEY,
    name           TEXT    NOT NULL UNIQUE,       -- folded, A-labels
    postmaster     INTEGER REFERENCES mailbox,    -- NULL: the oldest mailbox
    limit_octets   INTEGER,
    limit_messages INTEGER,
    keep_retrieved INTEGER,
    keep_deleted   INTEGER,
    created        INTEGER NOT NULL
) STRICT;

CREATE TABLE mailbox (
    id             INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice
    domain         INTEGER NOT NULL REFERENCES domain,
    local          TEXT    NOT NULL,              -- folded, unquoted
    inbox          INTEGER NOT NULL,              -- its folder INBOX, for good
    receives       INTEGER NOT NULL,              -- the three switches
    logs_in        INTEGER NOT NULL,
    sends          INTEGER NOT NULL,
    hash           TEXT    NOT NULL,
    limit_octets   INTEGER,
    limit_messages INTEGER,
    keep_retrieved INTEGER,
    keep_deleted   INTEGER,
    created        INTEGER NOT NULL,
    UNIQUE (domain, local)
) STRICT;
CREATE INDEX mailbox_keep ON mailbox (keep_retrieved) WHERE keep_retrieved IS NOT NULL;

CREATE TABLE alias (
    id     INTEGER PRIMARY KEY,
    domain INTEGER NOT NULL REFERENCES domain,
    local  TEXT    NOT NULL,                      -- '': the catch-all
    UNIQUE (domain, local)
) STRICT;

CREATE TABLE target (
    alias  INTEGER NOT NULL REFERENCES alias ON DELETE CASCADE,
    local  TEXT    NOT NULL,
    domain TEXT    NOT NULL,
    PRIMARY KEY (alias, local, domain)
) STRICT;
CREATE INDEX target_address ON target (local, domain);

-- What no delivery changes of a folder. INBOX is the maildrop: what POP3 shows.
CREATE TABLE folder (
    id       INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1 AND (1 << 31) - 1), -- never given twice
    mailbox  INTEGER NOT NULL,
    name     TEXT    NOT NULL,
    validity INTEGER NOT NULL CHECK (validity BETWEEN 0 AND (1 << 32) - 1), -- of its uids
    created  INTEGER NOT NULL,
    UNIQUE (mailbox, name)
) STRICT;

-- What each delivery changes, one row a folder: many rows a page, so that a batch
-- for many maildrops writes few pages.
CREATE TABLE tally (
    folder       INTEGER PRIMARY KEY,
    octets       INTEGER NOT NULL DEFAULT 0,
    messages     INTEGER NOT NULL DEFAULT 0,
    last         INTEGER NOT NULL DEFAULT 0 CHECK (last BETWEEN 0 AND (1 << 32) - 1), -- highest uid given
    modseq       INTEGER NOT NULL DEFAULT 1,      -- counts commits that add, remove or flag
    expunged     INTEGER NOT NULL DEFAULT 0,      -- modseq of the last removal
    all_octets   INTEGER NOT NULL DEFAULT 0,      -- INBOX: of all folders of the mailbox
    all_messages INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The messages of a folder stand side by side, in the order of their uids.
CREATE TABLE entry (
    id        INTEGER PRIMARY KEY,                -- folder << 32 | uid
    octets    INTEGER NOT NULL,                   -- prefix + own + body
    body      INTEGER NOT NULL,
    shared    INTEGER NOT NULL,                   -- 1: counted in share
    uidl      TEXT    NOT NULL,
    own       TEXT    NOT NULL,
    arrived   INTEGER NOT NULL,
    flags     INTEGER NOT NULL,
    modseq    INTEGER NOT NULL,                   -- the folder's, when the entry was added or flagged
    retrieved INTEGER,                            -- by POP3, when; NULL: not, or not noted
    folder    INTEGER AS (id >> 32) VIRTUAL,
    uid       INTEGER AS (id & (1 << 32) - 1) VIRTUAL
) STRICT;
CREATE INDEX entry_retrieved ON entry (folder, retrieved) WHERE retrieved IS NOT NULL;

-- Entries in the order of their commits, until compaction moves them to entry; see entry.go.
CREATE TABLE arrival (
    number  INTEGER PRIMARY KEY,
    id      INTEGER NOT NULL,                     -- the entry's
    octets  INTEGER NOT NULL,
    body    INTEGER NOT NULL,
    shared  INTEGER NOT NULL,
    uidl    TEXT    NOT NULL,
    own     TEXT    NOT NULL,
    arrived INTEGER NOT NULL,
    flags   INTEGER NOT NULL,
    modseq  INTEGER NOT NULL
) STRICT;

-- All entries.
CREATE VIEW message AS
SELECT id, octets, body, shared, uidl, own, arrived, flags, modseq, folder, uid FROM entry
UNION ALL
SELECT id, octets, body, shared, uidl, own, arrived, flags, modseq, id >> 32, id & (1 << 32) - 1 FROM arrival;

-- Entries that were deleted and can be brought back, outside the counters.
CREATE TABLE removed (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,    -- in the order of deletion, never given twice
    mailbox INTEGER NOT NULL,
    folder  INTEGER NOT NULL,                     -- to which it comes back
    octets  INTEGER NOT NULL,
    body    INTEGER NOT NULL,
    shared  INTEGER NOT NULL,
    uidl    TEXT    NOT NULL,                     -- that it had
    own     TEXT    NOT NULL,
    arrived INTEGER NOT NULL,
    flags   INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    until   INTEGER NOT NULL                      -- then it goes for good
) STRICT;
CREATE INDEX removed_mailbox ON removed (mailbox);
CREATE INDEX removed_until ON removed (until);

-- How much is kept aside: a row for each mailbox that has some, and 0 for all.
CREATE TABLE kept (
    mailbox  INTEGER PRIMARY KEY,
    octets   INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    gone     INTEGER NOT NULL                     -- rows of removed up to this id are gone, and wait to be freed
) STRICT;
CREATE INDEX kept_gone ON kept (mailbox) WHERE gone > 0 AND mailbox > 0;
INSERT INTO kept VALUES (0, 0, 0, 0);

-- chunks = 0: the content is in data. Otherwise in that number of rows of chunk,
-- whose id is body * 65536 + number.
CREATE TABLE body (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,     -- never given twice
    octets INTEGER NOT NULL,                      -- of the content alone
    chunks INTEGER NOT NULL,
    crc    INTEGER NOT NULL,                      -- CRC-32C of prefix and data
    prefix TEXT    NOT NULL,                      -- fields that all recipients share
    trace  INTEGER NOT NULL,                      -- where in prefix, in octets, those begin that a copy for elsewhere has too
    data   BLOB
) STRICT;

CREATE TABLE chunk (
    id   INTEGER PRIMARY KEY,
    crc  INTEGER NOT NULL,
    data BLOB    NOT NULL
) STRICT;

-- How many rows need a body, where it is more than one from the start.
CREATE TABLE share (
    body INTEGER PRIMARY KEY,
    refs INTEGER NOT NULL
) STRICT;

-- Bodies being received in chunks. Those of an earlier run are broken off at start.
CREATE TABLE transfer (
    body INTEGER PRIMARY KEY,
    over INTEGER NOT NULL                         -- 1: broken off; freed in slices
) STRICT;
CREATE INDEX transfer_over ON transfer (body) WHERE over = 1;

-- Bodies that no row needs; collected in slices.
CREATE TABLE garbage (
    body   INTEGER PRIMARY KEY,
    octets INTEGER NOT NULL                       -- that wait, or nearly so
) STRICT;

-- Folders of removed mailboxes; emptied in slices.
CREATE TABLE orphan (
    folder  INTEGER PRIMARY KEY,
    mailbox INTEGER NOT NULL
) STRICT;
