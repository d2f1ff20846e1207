-- The schema of a new database. A change here needs a migration in migrate.go.
-- Times are Unix seconds; sizes are octets; a NULL limit inherits the next
-- wider one, 0 is no limit.

CREATE TABLE domain (
    id             INTEGER PRIMARY KEY,
    name           TEXT    NOT NULL UNIQUE,       -- folded, A-labels
    postmaster     INTEGER REFERENCES mailbox,    -- NULL: the oldest mailbox
    limit_octets   INTEGER,
    limit_messages INTEGER,
    keep_retrieved INTEGER,                       -- seconds; NULL, 0: for good
    keep_deleted   INTEGER,                       -- seconds; NULL, 0: not at all
    created        INTEGER NOT NULL
) STRICT;

CREATE TABLE mailbox (
    id             INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice
    domain         INTEGER NOT NULL REFERENCES domain,
    local          TEXT    NOT NULL,              -- folded, unquoted
    enabled        INTEGER NOT NULL,
    hash           TEXT    NOT NULL,
    limit_octets   INTEGER,
    limit_messages INTEGER,
    keep_retrieved INTEGER,                       -- NULL: the domain's
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

-- What changes with every delivery, apart from what never does: many rows a
-- page, so that a batch for many maildrops writes few pages.
CREATE TABLE maildrop (
    id       INTEGER PRIMARY KEY CHECK (id < 1 << 23), -- the mailbox's
    octets   INTEGER NOT NULL DEFAULT 0,
    messages INTEGER NOT NULL DEFAULT 0,
    last     INTEGER NOT NULL DEFAULT 0 CHECK (last < 1 << 40) -- highest sequence given
) STRICT;

-- The messages of a maildrop stand side by side, in the order of their sequence.
CREATE TABLE entry (
    id        INTEGER PRIMARY KEY,                -- maildrop << 40 | sequence
    octets    INTEGER NOT NULL,                   -- prefix + own + body
    body      INTEGER NOT NULL,
    shared    INTEGER NOT NULL,                   -- 1: counted in share
    uidl      TEXT    NOT NULL,
    own       TEXT    NOT NULL,
    retrieved INTEGER,                            -- when; NULL: not, or not noted
    maildrop  INTEGER AS (id >> 40) VIRTUAL,
    sequence  INTEGER AS (id & (1 << 40) - 1) VIRTUAL
) STRICT;
CREATE INDEX entry_retrieved ON entry (maildrop, retrieved) WHERE retrieved IS NOT NULL;

-- Entries in the order of their commits, until they are settled; see arrivals.go.
CREATE TABLE arrival (
    number INTEGER PRIMARY KEY,
    id     INTEGER NOT NULL,                      -- the entry's
    octets INTEGER NOT NULL,
    body   INTEGER NOT NULL,
    shared INTEGER NOT NULL,
    uidl   TEXT    NOT NULL,
    own    TEXT    NOT NULL
) STRICT;

-- All entries.
CREATE VIEW message AS
SELECT id, octets, body, shared, uidl, own, maildrop, sequence FROM entry
UNION ALL
SELECT id, octets, body, shared, uidl, own, id >> 40, id & (1 << 40) - 1 FROM arrival;

-- Entries that were deleted and can be brought back, outside the counters.
CREATE TABLE removed (
    id       INTEGER PRIMARY KEY,                 -- in the order of deletion
    maildrop INTEGER NOT NULL,
    octets   INTEGER NOT NULL,
    body     INTEGER NOT NULL,
    shared   INTEGER NOT NULL,
    own      TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    until    INTEGER NOT NULL                     -- then it goes for good
) STRICT;
CREATE INDEX removed_maildrop ON removed (maildrop, at);
CREATE INDEX removed_until ON removed (until);

-- chunks = 0: the content is in data. Otherwise in so many rows of chunk, whose
-- id is body * 65536 + number.
CREATE TABLE body (
    id     INTEGER PRIMARY KEY,
    octets INTEGER NOT NULL,                      -- of the content alone
    chunks INTEGER NOT NULL,
    crc    INTEGER NOT NULL,                      -- CRC-32C of prefix and data
    prefix TEXT    NOT NULL,
    data   BLOB
) STRICT;

CREATE TABLE chunk (
    id   INTEGER PRIMARY KEY,
    crc  INTEGER NOT NULL,
    data BLOB    NOT NULL
) STRICT;

-- How many entries need a body, where it is more than one from the start.
CREATE TABLE share (
    body INTEGER PRIMARY KEY,
    refs INTEGER NOT NULL
) STRICT;

-- Bodies being received in chunks; swept at start.
CREATE TABLE transfer (body INTEGER PRIMARY KEY) STRICT;

-- Bodies that no entry needs; freed in slices.
CREATE TABLE doomed (body INTEGER PRIMARY KEY) STRICT;

-- Maildrops of removed mailboxes; emptied in slices.
CREATE TABLE orphan (maildrop INTEGER PRIMARY KEY) STRICT;
