package repair

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// indexed has, for each table whose index holds enough of a row to add it again, the queries
// for that. loss yields the text that names a row added again and what of it is lost;
// empty: nothing is lost.
var indexed = map[string]struct {
	read, insert, loss string
	remedy             storage.Remedy // against the loss
}{
	"domain": {
		"SELECT id, name FROM domain INDEXED BY sqlite_autoindex_domain_1 ORDER BY name",
		"INSERT OR IGNORE INTO domain (id, name, created) VALUES (?, ?, unixepoch())",
		"SELECT 'domain ' || name || ': its limits, times and postmaster are lost' FROM domain WHERE id = ?", storage.SetDomain,
	},
	"mailbox": {
		"SELECT id, domain, local FROM mailbox INDEXED BY sqlite_autoindex_mailbox_1 WHERE id < 1 << 31 ORDER BY domain, local",
		"INSERT OR IGNORE INTO mailbox (id, domain, local, inbox, receives, logs_in, sends, hash, created) VALUES (?, ?, ?, 0, 1, 1, 1, '', unixepoch())",
		"SELECT 'mailbox ' || local || '@' || coalesce((SELECT name FROM domain d WHERE d.id = m.domain), '?') || ': its password, limits and times are lost, and it receives mail, even if it was disabled before' FROM mailbox m WHERE id = ?", storage.SetMailbox,
	},
	"folder": {
		"SELECT id, mailbox, name FROM folder INDEXED BY sqlite_autoindex_folder_1 ORDER BY mailbox, name",
		"INSERT OR IGNORE INTO folder (id, mailbox, name, validity, created) VALUES (?, ?, ?, 0, unixepoch())", "", storage.NoRemedy,
	},
	"alias": {
		"SELECT id, domain, local FROM alias INDEXED BY sqlite_autoindex_alias_1 ORDER BY domain, local",
		"INSERT OR IGNORE INTO alias (id, domain, local) VALUES (?, ?, ?)", "", storage.NoRemedy,
	},
	"target": {
		"SELECT alias, local, domain FROM target INDEXED BY sqlite_autoindex_target_1 ORDER BY alias, local, domain",
		"INSERT OR IGNORE INTO target (alias, local, domain) VALUES (?, ?, ?)", "", storage.NoRemedy,
	},
}

// fromIndex adds the lost rows of a table again, as far as an index has them.
func (r *rebuild) fromIndex(table string) error {
	known, ok := indexed[table]
	if !ok || known.loss != "" {
		r.loss("the table "+table+" has damaged pages: what stood there is lost", storage.NoRemedy)
	}
	if !ok {
		return nil
	}
	damaged, err := r.read(known.read, func(row []driver.Value) error {
		made, _, err := r.to.Exec(known.insert, row...)
		if err != nil || made == 0 || known.loss == "" {
			return err
		}
		text, err := r.to.First(known.loss, row[0])
		if err == nil && text != nil {
			r.loss(text[0].(string), known.remedy)
		}
		return err
	})
	switch {
	case damaged:
		r.loss("the table "+table+" has damaged pages, and so has its index", storage.RestoreOrMake)
	case err == nil && known.loss == "":
		r.loss("the table "+table+" has damaged pages: it was made again from its index", storage.NoRemedy)
	}
	return err
}

// neverTwice are the tables whose ids are never given twice. ids is a query of the other
// places where ids of the table may be.
var neverTwice = []struct{ table, ids string }{
	{"mailbox", "SELECT mailbox AS id FROM folder UNION ALL SELECT mailbox FROM orphan UNION ALL SELECT mailbox FROM removed UNION ALL SELECT mailbox FROM kept"},
	{"folder", "SELECT folder AS id FROM tally UNION ALL SELECT folder FROM orphan UNION ALL SELECT folder FROM removed UNION ALL SELECT folder FROM message UNION ALL SELECT inbox FROM mailbox"},
	{"removed", "SELECT gone AS id FROM kept"},
	{"body", "SELECT body AS id FROM message UNION ALL SELECT body FROM removed UNION ALL SELECT body FROM share UNION ALL SELECT body FROM transfer UNION ALL SELECT body FROM garbage UNION ALL SELECT id >> 16 FROM chunk"},
}

// idBound has, for each table, an id that is above all ids that can have been given: this id
// or a higher one is damage. Each mailbox has a folder, so the bound of folders holds for
// mailboxes too.
var idBound = map[string]int64{"mailbox": tables.MaxFolder + 1, "folder": tables.MaxFolder + 1, "removed": 1 << 46, "body": 1 << 46}

// copyHighest makes sure that the ids of lost or deleted rows are not given again.
func (r *rebuild) copyHighest(of struct{ table, ids string }) error {
	given := int64(0)
	_, err := r.read("SELECT seq FROM sqlite_sequence WHERE name = ?", func(row []driver.Value) error {
		given, _ = row[0].(int64)
		return nil
	}, of.table)
	if err != nil {
		return err
	}
	highest, err := r.to.Number("SELECT max(id) FROM (SELECT ?1 AS id UNION ALL SELECT id FROM "+of.table+" UNION ALL "+of.ids+") WHERE id < ?2", given, idBound[of.table])
	if err != nil {
		return err
	}
	if _, _, err := r.to.Exec("DELETE FROM sqlite_sequence WHERE name = ?", of.table); err != nil {
		return err
	}
	_, _, err = r.to.Exec("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", of.table, highest)
	return err
}

// holdMailboxes adds a mailbox for each folder with mail whose own mailbox is lost, so that
// the mail stays until a person has found out whose it is. If the folder is lost too, the
// mailbox takes it for its INBOX.
func (r *rebuild) holdMailboxes() error {
	type lost struct {
		mailbox driver.Value // nil: not known
		folder  int64
	}
	var all []lost
	err := r.to.Each(`SELECT f.mailbox, e.folder FROM (SELECT DISTINCT folder FROM message) e LEFT JOIN folder f ON f.id = e.folder
WHERE e.folder BETWEEN 1 AND ? AND e.folder NOT IN (SELECT folder FROM orphan) AND e.folder NOT IN (SELECT inbox FROM mailbox)
    AND (f.mailbox IS NULL OR f.mailbox NOT IN (SELECT id FROM mailbox))`, func(row []driver.Value) error {
		all = append(all, lost{row[0], row[1].(int64)})
		return nil
	}, int64(tables.MaxFolder))
	if err != nil || len(all) == 0 {
		return err
	}
	if _, _, err := r.to.Exec("INSERT INTO domain (name, created) SELECT 'lost.invalid', unixepoch() WHERE NOT EXISTS (SELECT 1 FROM domain)"); err != nil {
		return err
	}
	row, err := r.to.First("SELECT id, name FROM domain ORDER BY id LIMIT 1")
	if err != nil {
		return err
	}
	domain, name := row[0], row[1]
	for _, l := range all {
		local := fmt.Sprintf("lost-%d", l.folder)
		made, _, err := r.to.Exec("INSERT OR IGNORE INTO mailbox (id, domain, local, inbox, receives, logs_in, sends, hash, created) VALUES (?, ?, ?, ?, 0, 0, 0, '', unixepoch())",
			l.mailbox, domain, local, l.folder)
		if err != nil {
			return err
		}
		if made > 0 { // 0: it was added for another folder already
			r.loss(fmt.Sprintf("mailbox %s@%s: it holds the mail of a mailbox whose address is lost", local, name), storage.ReadMail)
		}
	}
	return nil
}

// saveOwnerless writes content that is in no maildrop any more into files.
func (r *rebuild) saveOwnerless() error {
	const waiting = " NOT IN (SELECT body FROM garbage UNION ALL SELECT body FROM transfer)"
	unknown := 0
	err := r.to.Each("SELECT id, prefix, data FROM body WHERE id NOT IN (SELECT body FROM message UNION ALL SELECT body FROM removed) AND id"+waiting, func(row []driver.Value) error {
		unknown++
		id := row[0].(int64)
		data, _ := row[2].([]byte)
		return r.save(id, strconv.FormatInt(id, 10), row[1].(string), string(data))
	})
	if err != nil {
		return err
	}
	// Chunks whose body is lost, with the fields before them. Entries may still refer to it.
	last, name := int64(0), ""
	err = r.to.Each("SELECT c.body, e.uidl, "+ownerOf("e.folder")+` FROM (SELECT DISTINCT id >> 16 AS body FROM chunk) c LEFT JOIN message e ON e.body = c.body
WHERE c.body NOT IN (SELECT id FROM body) AND c.body`+waiting+" ORDER BY c.body, e.folder", func(row []driver.Value) error {
		id := row[0].(int64)
		uidl, known := row[1].(string)
		owner := fmt.Sprint(row[2])
		if id != last {
			last, name = id, strconv.FormatInt(id, 10)
			if known {
				name = fileName(name + "-" + uidl + "-" + owner)
			}
			if err := r.save(id, name); err != nil {
				return err
			}
		}
		if known {
			r.loss(fmt.Sprintf("message %s in %s: its content is in %s, without the fields that stood before it", uidl, owner, r.saved(name)), storage.NoRemedy)
		} else {
			unknown++
		}
		return nil
	})
	if unknown > 0 {
		r.loss(fmt.Sprintf("content of %d messages whose entry is lost was saved in %s: in its field Received, for names an only recipient, and id finds the line accepted in the log, which names all", unknown, r.lost()), storage.NoRemedy)
	}
	if err == nil && (unknown > 0 || last > 0) {
		err = db.SyncPath(r.lostPart())
	}
	return err
}

// fileName makes a file name of a text that needs no quoting and is not too long.
func fileName(text string) string {
	name := strings.Map(func(c rune) rune {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("@.+-_=", c) {
			return c
		}
		return '_'
	}, text)
	return name[:min(len(name), 200)]
}

// saved returns the path of the file of a body that was saved under a name.
func (r *rebuild) saved(name string) string { return filepath.Join(r.lost(), name+".eml") }

// save writes a body into a file: head, and then its chunks.
func (r *rebuild) save(id int64, name string, head ...string) error {
	if err := os.MkdirAll(r.lostPart(), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(r.lostPart(), name+".eml"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, part := range head {
		if _, err := f.WriteString(part); err != nil {
			return err
		}
	}
	err = r.to.Each("SELECT data FROM chunk WHERE id BETWEEN ? AND ? ORDER BY id", func(row []driver.Value) error {
		_, err := f.Write(row[0].([]byte))
		return err
	}, id<<tables.ChunkShift, id<<tables.ChunkShift|(1<<tables.ChunkShift-1))
	return errors.Join(err, f.Sync(), r.ctx.Err())
}
