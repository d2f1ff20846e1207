package repair

import (
	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// rule is something that must always hold. query yields a row for each place where it is
// broken, with the finding's text in the first column. mend is the SQL that makes it hold
// again, or repair is the function if that takes more than statements. If both are missing
// a person must decide, and remedy says what can be done.
type rule struct {
	query  string
	mend   string
	repair func(c *db.Conn) error
	remedy storage.Remedy
}

// Parts of queries: within are the entries that a row of tally counts, needed the bodies
// that some row needs, and shared the bodies whose references share counts.
const (
	within = "entry WHERE id BETWEEN tally.folder << 32 AND (tally.folder + 1 << 32) - 1"
	needed = "(SELECT body FROM message UNION ALL SELECT body FROM removed)"
	shared = "(SELECT body FROM message WHERE shared = 1 UNION ALL SELECT body FROM removed WHERE shared = 1)"
)

// address returns SQL for a mailbox's address, or its id if it has none. id is SQL too.
func address(id string) string {
	return "coalesce((SELECT named.local || '@' || d.name FROM mailbox named JOIN domain d ON d.id = named.domain WHERE named.id = " + id + "), " + id + ")"
}

// ownerOf returns SQL that names a folder by its mailbox's address, and by its own name if
// that is not INBOX. folder is SQL too.
func ownerOf(folder string) string {
	return "coalesce((SELECT " + address("f.mailbox") + " || iif(f.name = 'INBOX', '', ', folder ' || f.name) FROM folder f WHERE f.id = " + folder + "), 'folder ' || " + folder + ")"
}

func maildropOf(folder string) string { return "'maildrop ' || " + ownerOf(folder) }

// Conditions of the rules that have a repair.
const (
	// twice are the arrivals that cannot be compacted, since their uid was given twice in
	// their folder.
	twice = "arrival WHERE id IN (SELECT id FROM entry) OR id IN (SELECT id FROM arrival GROUP BY id HAVING count(*) > 1)"
	// noInbox are the mailboxes m whose inbox is not the id of their folder INBOX.
	noInbox = "mailbox m WHERE NOT EXISTS (SELECT 1 FROM folder f WHERE f.id = m.inbox AND f.mailbox = m.id AND f.name = 'INBOX')"
	// noTally are the folders without counters.
	noTally = "id NOT IN (SELECT folder FROM tally)"
	// uidLost are the folders with a uid above the highest that their counters have given.
	uidLost = "id IN (SELECT p.folder FROM tally p JOIN message e ON e.folder = p.folder GROUP BY p.folder HAVING max(e.uid) > p.last)"
	// noBody are the entries without a body.
	noBody = "e JOIN folder f ON f.id = e.folder WHERE e.body NOT IN (SELECT id FROM body)"
	// wrong are the entries e, with their bodies b, whose size or uid cannot be right.
	wrong     = "e JOIN folder f ON f.id = e.folder JOIN body b ON b.id = e.body WHERE (e.uid = 0 OR e.octets <> " + rightSize + ")"
	rightSize = "length(CAST(b.prefix AS BLOB)) + length(CAST(e.own AS BLOB)) + b.octets"
)

// firstRules are mended before all arrivals are compacted: what breaks them prevents the
// compaction or other repairs.
var firstRules = []rule{
	{
		query:  `SELECT 'the numbers of the store are lost' WHERE NOT EXISTS (SELECT 1 FROM store)`,
		repair: func(c *db.Conn) error { return addNumbers(c) },
	},
	{
		query: `SELECT 'folders have the validity ' || max(f.validity) || ', the last one given is ' || s.validity FROM folder f, store s HAVING max(f.validity) > s.validity`,
		mend:  `UPDATE store SET validity = max(validity, (SELECT max(validity) FROM folder))`,
	},
	{
		query: `SELECT ` + maildropOf("(arrival.id >> 32)") + ` || ' gave uid ' || (id & (1 << 32) - 1) || ' twice' FROM ` + twice,
		repair: func(c *db.Conn) error {
			if err := tables.RenewValidity(c, "id IN (SELECT id >> 32 FROM "+twice+")"); err != nil {
				return err
			}
			return c.Script(`UPDATE arrival SET id = number - (SELECT min(number) FROM arrival) + 1 +
    (SELECT max(id) FROM message m WHERE m.id BETWEEN arrival.id >> 32 << 32 AND ((arrival.id >> 32) + 1 << 32) - 1) FROM (SELECT number AS wrong FROM ` + twice + `) WHERE number = wrong`)
		},
	},
}

// rules are checked in this order, so that a later repair can use the result of an earlier.
var rules = []rule{
	{
		query:  `SELECT 'mailbox ' || ` + address("m.id") + ` || ' has no INBOX' FROM ` + noInbox,
		repair: mendInboxes,
	},
	{ // rows of garbage, transfer and orphan only wait to be freed: they break no rule
		query: `SELECT ` + maildropOf("g.id") + ` || ' has no mailbox' FROM folder g WHERE mailbox NOT IN (SELECT id FROM mailbox)`,
		mend: `INSERT OR IGNORE INTO orphan (folder, mailbox) SELECT id, mailbox FROM folder WHERE mailbox NOT IN (SELECT id FROM mailbox);
DELETE FROM folder WHERE mailbox NOT IN (SELECT id FROM mailbox)`,
	},
	{
		query: `SELECT 'entry of folder ' || folder || ', uid ' || uid || ': the folder does not exist' FROM message WHERE folder NOT IN (SELECT id FROM folder) AND folder NOT IN (SELECT folder FROM orphan)`,
		mend:  `INSERT OR IGNORE INTO orphan (folder, mailbox) SELECT DISTINCT folder, 0 FROM entry WHERE folder NOT IN (SELECT id FROM folder)`,
	},
	{
		query: `SELECT ` + maildropOf("g.id") + ` || ' waits to be emptied but is needed' FROM orphan o JOIN folder g ON g.id = o.folder`,
		mend:  `DELETE FROM orphan WHERE folder IN (SELECT id FROM folder)`,
	},
	{
		query: `SELECT ` + maildropOf("g.id") + ` || ' has no counters' FROM folder g WHERE ` + noTally,
		repair: func(c *db.Conn) error {
			if err := tables.RenewValidity(c, noTally); err != nil { // its highest uid may be lost
				return err
			}
			return c.Script("INSERT INTO tally (folder, last) SELECT id, (SELECT coalesce(max(e.uid), 0) FROM entry e WHERE e.id BETWEEN folder.id << 32 AND (folder.id + 1 << 32) - 1) FROM folder WHERE " + noTally)
		},
	},
	{
		query: `SELECT ` + maildropOf("tally.folder") + ` || ' has counters but does not exist' FROM tally WHERE folder NOT IN (SELECT id FROM folder)`,
		mend:  `DELETE FROM tally WHERE folder NOT IN (SELECT id FROM folder)`,
	},
	{
		query: `SELECT ` + maildropOf("p.folder") + ` || ' gave uid ' || p.last || ', holds ' || max(e.uid) FROM tally p JOIN message e ON e.folder = p.folder GROUP BY p.folder HAVING max(e.uid) > p.last`,
		repair: func(c *db.Conn) error {
			if err := tables.RenewValidity(c, uidLost); err != nil {
				return err
			}
			return c.Script("UPDATE tally SET last = max(last, (SELECT coalesce(max(uid), 0) FROM " + within + "))")
		},
	},
	{
		query:  `SELECT ` + maildropOf("folder") + ` || ' has given its last uid and takes no mail' FROM tally WHERE last >= 4294967295`,
		remedy: storage.NewMailbox,
	},
	{
		query: `SELECT ` + maildropOf("p.folder") + ` || ' counts modseq ' || p.modseq || ', has ' || max(p.expunged, coalesce(e.modseq, 0), 1) FROM tally p LEFT JOIN (SELECT folder, max(modseq) AS modseq FROM message GROUP BY folder) e ON e.folder = p.folder WHERE p.modseq < max(p.expunged, coalesce(e.modseq, 0), 1)`,
		mend:  `UPDATE tally SET modseq = max(modseq, expunged, 1, (SELECT coalesce(max(modseq), 0) FROM ` + within + `))`,
	},
	{
		query: `SELECT 'message ' || uidl || ' in ' || ` + maildropOf("e.folder") + ` || ' has modseq ' || modseq FROM message e WHERE modseq < 1`,
		mend:  `UPDATE entry SET modseq = 1 WHERE modseq < 1`,
	},
	{
		query:  `SELECT ` + maildropOf("g.id") + ` || ' has no validity' FROM folder g WHERE validity = 0`,
		repair: func(c *db.Conn) error { return tables.RenewValidity(c, "validity = 0") },
	},
	{
		query:  `SELECT 'message ' || e.uidl || ' in ' || ` + ownerOf("e.folder") + ` || ': its body is missing' FROM message ` + noBody,
		repair: func(c *db.Conn) error { return eachWrong(c, noBody, remove) },
	},
	{
		query:  `SELECT 'message ' || e.uidl || ' in ' || ` + maildropOf("e.folder") + ` || ', uid ' || e.uid || ': its size is ' || e.octets || ', its parts have ' || (` + rightSize + `) FROM message ` + wrong,
		repair: func(c *db.Conn) error { return eachWrong(c, wrong, addAnew) },
	},
	{
		query: `SELECT ` + maildropOf("p.folder") + ` || ' counts ' || p.octets || ' octets in ' || p.messages || ' messages, holds ' || coalesce(e.octets, 0) || ' in ' || coalesce(e.messages, 0) FROM tally p LEFT JOIN (SELECT folder, sum(octets) AS octets, count(*) AS messages FROM message GROUP BY folder) e ON e.folder = p.folder WHERE p.octets <> coalesce(e.octets, 0) OR p.messages <> coalesce(e.messages, 0)`,
		mend:  `UPDATE tally SET octets = (SELECT coalesce(sum(octets), 0) FROM ` + within + `), messages = (SELECT count(*) FROM ` + within + `)`,
	},
	{
		query: `SELECT ` + maildropOf("p.folder") + ` || ' counts ' || p.all_octets || ' octets in ' || p.all_messages || ' messages of all folders, which count ' || t.octets || ' in ' || t.messages FROM tally p JOIN ` + totals + ` t ON t.folder = p.folder WHERE p.all_octets <> t.octets OR p.all_messages <> t.messages`,
		mend:  `UPDATE tally SET all_octets = t.octets, all_messages = t.messages FROM ` + totals + ` t WHERE t.folder = tally.folder`,
	},
	{
		query:  `SELECT ` + maildropOf("folder") + ` || ' holds UIDL ' || uidl || ' ' || count(*) || ' times' FROM message GROUP BY folder, uidl HAVING count(*) > 1`,
		remedy: storage.RemoveCopies,
	},
	{
		query: `SELECT 'body ' || s.body || ' counts ' || s.refs || ' entries, has ' || coalesce(n.n, 0) FROM share s LEFT JOIN (SELECT body, count(*) AS n FROM ` + shared + ` GROUP BY body) n ON n.body = s.body WHERE s.refs <> coalesce(n.n, 0)`,
		mend:  `UPDATE share SET refs = (SELECT count(*) FROM ` + shared + ` n WHERE n.body = share.body); DELETE FROM share WHERE refs = 0`,
	},
	{
		query: `SELECT 'shared body ' || body || ' is not counted' FROM (SELECT body FROM ` + shared + ` GROUP BY body) WHERE body NOT IN (SELECT body FROM share)`,
		mend:  `INSERT INTO share (body, refs) SELECT body, count(*) FROM ` + shared + ` WHERE body NOT IN (SELECT body FROM share) GROUP BY body`,
	},
	{
		query: `SELECT 'body ' || body || ' waits to be freed but is needed' FROM garbage WHERE body IN ` + needed,
		mend:  `DELETE FROM garbage WHERE body IN ` + needed,
	},
	{
		query: `SELECT 'body ' || id || ' belongs to no message' FROM body WHERE id NOT IN ` + needed + ` AND id NOT IN (SELECT body FROM garbage) AND id NOT IN (SELECT body FROM transfer)`,
		mend:  `INSERT INTO garbage (body, octets) SELECT id, octets FROM body WHERE id NOT IN ` + needed + ` AND id NOT IN (SELECT body FROM garbage) AND id NOT IN (SELECT body FROM transfer)`,
	},
	{
		query: `SELECT 'body ' || id || ' says that its trace fields begin at ' || trace || ' of ' || length(CAST(prefix AS BLOB)) FROM body WHERE trace NOT BETWEEN 0 AND length(CAST(prefix AS BLOB))`,
		mend:  `UPDATE body SET trace = 0 WHERE trace NOT BETWEEN 0 AND length(CAST(prefix AS BLOB))`,
	},
	{
		query: `SELECT 'chunk ' || id || ' belongs to no body' FROM chunk WHERE id >> 16 NOT IN (SELECT id FROM body)`,
		mend:  `DELETE FROM chunk WHERE id >> 16 NOT IN (SELECT id FROM body)`,
	},
	{
		query: `SELECT 'what mailbox ' || mailbox || ' keeps aside is nobody''s' FROM removed WHERE id > coalesce((SELECT gone FROM kept WHERE mailbox = removed.mailbox), 0) AND mailbox NOT IN (SELECT id FROM mailbox) GROUP BY mailbox`,
		mend:  `INSERT INTO kept (mailbox, octets, messages, gone) SELECT mailbox, 0, 0, max(id) FROM removed WHERE mailbox NOT IN (SELECT id FROM mailbox) GROUP BY mailbox ON CONFLICT (mailbox) DO UPDATE SET gone = excluded.gone`,
	},
	{
		query: `SELECT 'mailbox ' || ` + address("n.mailbox") + ` || ' counts ' || coalesce(k.octets, 0) || ' octets in ' || coalesce(k.messages, 0) || ' messages kept aside, has ' || n.octets || ' in ' || n.messages FROM ` + asideNow + ` n LEFT JOIN kept k ON k.mailbox = n.mailbox WHERE coalesce(k.octets, 0) <> n.octets OR coalesce(k.messages, 0) <> n.messages`,
		mend: `INSERT OR IGNORE INTO kept (mailbox, octets, messages, gone) SELECT mailbox, 0, 0, 0 FROM ` + asideNow + `;
UPDATE kept SET octets = n.octets, messages = n.messages FROM ` + asideNow + ` n WHERE n.mailbox = kept.mailbox`,
	},
	{
		query: `SELECT 'all mailboxes count ' || coalesce(k.octets, 0) || ' octets in ' || coalesce(k.messages, 0) || ' messages kept aside, have ' || n.octets || ' in ' || n.messages FROM ` + asideTotal + ` n LEFT JOIN kept k ON k.mailbox = 0 WHERE coalesce(k.octets, -1) <> n.octets OR coalesce(k.messages, -1) <> n.messages`,
		mend: `INSERT OR IGNORE INTO kept (mailbox, octets, messages, gone) VALUES (0, 0, 0, 0);
UPDATE kept SET octets = n.octets, messages = n.messages FROM ` + asideTotal + ` n WHERE mailbox = 0`,
	},
	{
		query:  `SELECT 'address ' || m.local || '@' || d.name || ' is both a mailbox and an alias' FROM mailbox m JOIN alias a ON a.domain = m.domain AND a.local = m.local JOIN domain d ON d.id = m.domain`,
		remedy: storage.RemoveOne,
	},
	{
		query:  `SELECT 'alias target ' || t.local || '@' || t.domain || ' does not exist' FROM target t WHERE NOT EXISTS (SELECT 1 FROM domain d WHERE d.name = t.domain AND (EXISTS (SELECT 1 FROM mailbox m WHERE m.domain = d.id AND m.local = t.local) OR EXISTS (SELECT 1 FROM alias a WHERE a.domain = d.id AND a.local = t.local)))`,
		remedy: storage.RemoveTarget,
	},
}

// asideNow is what each mailbox has aside, for mailboxes with rows of removed or kept.
// asideTotal is what all mailboxes together have aside.
const (
	asideNow = `(SELECT m.mailbox, coalesce(sum(r.octets), 0) AS octets, count(r.id) AS messages
FROM (SELECT mailbox FROM kept WHERE mailbox > 0 UNION SELECT mailbox FROM removed) m
LEFT JOIN removed r ON r.mailbox = m.mailbox AND r.id > coalesce((SELECT gone FROM kept WHERE mailbox = m.mailbox), 0) GROUP BY m.mailbox)`
	asideTotal = `(SELECT coalesce(sum(octets), 0) AS octets, coalesce(sum(messages), 0) AS messages FROM kept WHERE mailbox > 0)`
)

// totals are the values that all_octets and all_messages of each folder must have: the sums
// of the mailbox's folders for an INBOX, and 0 for others.
const totals = `(SELECT f.id AS folder, iif(m.inbox = f.id, (SELECT sum(octets) FROM folder o JOIN tally q ON q.folder = o.id WHERE o.mailbox = m.id), 0) AS octets,
    iif(m.inbox = f.id, (SELECT sum(messages) FROM folder o JOIN tally q ON q.folder = o.id WHERE o.mailbox = m.id), 0) AS messages
FROM folder f JOIN mailbox m ON m.id = f.mailbox)`
