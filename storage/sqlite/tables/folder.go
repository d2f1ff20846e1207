package tables

import (
	"database/sql/driver"
	"fmt"
	"time"

	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
)

// Inbox is the name of the folder that POP3 shows.
const Inbox = "INBOX"

// MaxFolder is the highest id of a folder: an entry's id has 31 bits for it.
const MaxFolder = 1<<31 - 1

// Place is a folder of a mailbox, by its id. Of a mailbox that was removed Inbox is 0.
type Place struct{ Mailbox, Folder, Inbox int64 }

// NewFolder makes a folder of a mailbox, and returns its id. What refuses is the
// caller's to look for before: no folder id may be left.
func NewFolder(c *db.Conn, mailbox int64, name string) (id int64, err error) {
	validity, err := nextValidity(c)
	if err != nil {
		return 0, err
	}
	_, id, err = c.Exec("INSERT INTO folder (mailbox, name, validity, created) VALUES (?, ?, ?, ?)", mailbox, name, validity, time.Now().Unix())
	if err != nil {
		return 0, err
	}
	_, _, err = c.Exec("INSERT INTO tally (folder) VALUES (?)", id)
	return id, err
}

// NewInbox makes a mailbox's INBOX.
func NewInbox(c *db.Conn, mailbox int64) error {
	id, err := NewFolder(c, mailbox, Inbox)
	if err == nil {
		_, _, err = c.Exec("UPDATE mailbox SET inbox = ?2 WHERE id = ?1", mailbox, id)
	}
	return err
}

// nextValidity gives a validity that no folder had before (RFC 9051 section 2.3.1.1):
// the time, or one more than the last where that is not less.
func nextValidity(c *db.Conn) (int64, error) {
	row, err := c.First("UPDATE store SET validity = max(validity + 1, ?) RETURNING validity", time.Now().Unix())
	if err != nil {
		return 0, err
	}
	if row == nil {
		return 0, fmt.Errorf("%w: the table store is empty", storage.ErrCorrupt)
	}
	return row[0].(int64), nil
}

// RenewValidity gives each of some folders a new validity: their uids may be given
// again. which is a condition on rows of folder.
func RenewValidity(c *db.Conn, which string) error {
	var folders []int64
	err := c.Each("SELECT id FROM folder WHERE "+which+" ORDER BY id", func(row []driver.Value) error {
		folders = append(folders, row[0].(int64))
		return nil
	})
	for _, id := range folders {
		var validity int64
		if err == nil {
			validity, err = nextValidity(c)
		}
		if err == nil {
			_, _, err = c.Exec("UPDATE folder SET validity = ?2 WHERE id = ?1", id, validity)
		}
	}
	return err
}

// PlaceOf finds a folder of a mailbox; folder 0 is INBOX. ErrNoFolder.
func PlaceOf(c *db.Conn, mailbox, folder int64) (Place, error) {
	row, err := c.First("SELECT inbox, (SELECT id FROM folder WHERE id = ?2 AND mailbox = ?1) FROM mailbox WHERE id = ?1", mailbox, folder)
	switch {
	case err != nil:
		return Place{}, err
	case row == nil:
		return Place{}, storage.ErrNoMaildrop
	case folder == 0:
		return Place{mailbox, row[0].(int64), row[0].(int64)}, nil
	case row[1] == nil:
		return Place{}, storage.ErrNoFolder
	}
	return Place{mailbox, folder, row[0].(int64)}, nil
}
