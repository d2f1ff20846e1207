package sqlite

import (
	"database/sql/driver"
	"fmt"
	"time"

	"mailsrv/quota"
	"mailsrv/storage"
)

// inbox is the name of the folder that POP3 shows.
const inbox = "INBOX"

// maxFolder is the highest id of a folder: an entry's id has 31 bits for it.
const maxFolder = 1<<31 - 1

// place is a folder of a mailbox. Of a mailbox that was removed inbox is 0.
type place struct{ mailbox, folder, inbox int64 }

// counters are a mailbox's INBOX as its row of tally has it.
type counters struct {
	place
	held  quota.Usage // in INBOX
	usage quota.Usage // in all folders
	last  int64       // highest uid given in INBOX
}

// newFolder makes a folder of a mailbox, and returns its id. What refuses is the
// caller's to look for before: no folder id may be left.
func newFolder(c *conn, mailbox int64, name string) (id int64, err error) {
	validity, err := nextValidity(c)
	if err != nil {
		return 0, err
	}
	_, id, err = c.exec("INSERT INTO folder (mailbox, name, validity, created) VALUES (?, ?, ?, ?)", mailbox, name, validity, time.Now().Unix())
	if err != nil {
		return 0, err
	}
	_, _, err = c.exec("INSERT INTO tally (folder) VALUES (?)", id)
	return id, err
}

// newInbox makes a mailbox's INBOX.
func newInbox(c *conn, mailbox int64) error {
	id, err := newFolder(c, mailbox, inbox)
	if err == nil {
		_, _, err = c.exec("UPDATE mailbox SET inbox = ?2 WHERE id = ?1", mailbox, id)
	}
	return err
}

// nextValidity gives a validity that no folder had before (RFC 9051 section 2.3.1.1):
// the time, or one more than the last where that is not less.
func nextValidity(c *conn) (int64, error) {
	row, err := c.first("UPDATE store SET validity = max(validity + 1, ?) RETURNING validity", time.Now().Unix())
	if err != nil {
		return 0, err
	}
	if row == nil {
		return 0, fmt.Errorf("%w: the table store is empty", storage.ErrCorrupt)
	}
	return row[0].(int64), nil
}

// renewValidity gives each of some folders a new validity: their uids may be given
// again. which is a condition on rows of folder.
func renewValidity(c *conn, which string) error {
	var folders []int64
	err := c.each("SELECT id FROM folder WHERE "+which+" ORDER BY id", func(row []driver.Value) error {
		folders = append(folders, row[0].(int64))
		return nil
	})
	for _, id := range folders {
		var validity int64
		if err == nil {
			validity, err = nextValidity(c)
		}
		if err == nil {
			_, _, err = c.exec("UPDATE folder SET validity = ?2 WHERE id = ?1", id, validity)
		}
	}
	return err
}

// placeOf finds a folder of a mailbox; folder 0 is INBOX. ErrNoFolder.
func placeOf(c *conn, mailbox, folder int64) (place, error) {
	row, err := c.first("SELECT inbox, (SELECT id FROM folder WHERE id = ?2 AND mailbox = ?1) FROM mailbox WHERE id = ?1", mailbox, folder)
	switch {
	case err != nil:
		return place{}, err
	case row == nil:
		return place{}, storage.ErrNoMaildrop
	case folder == 0:
		return place{mailbox, row[0].(int64), row[0].(int64)}, nil
	case row[1] == nil:
		return place{}, storage.ErrNoFolder
	}
	return place{mailbox, folder, row[0].(int64)}, nil
}
