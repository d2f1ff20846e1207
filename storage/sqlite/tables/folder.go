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

// MaxFolder is the highest id of a folder: an entry's id has 31 bits for it. See [UIDBits].
const MaxFolder = 1<<31 - 1

// Place is a folder of a mailbox and the mailbox's INBOX, as ids. Inbox is 0 if the mailbox
// was removed.
type Place struct{ Mailbox, Folder, Inbox int64 }

// NewFolder adds a folder with its counters to a mailbox, and returns its id. The caller
// looks for reasons to refuse first, such as that all folder ids up to [MaxFolder] have
// been given.
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

// NewInbox adds the INBOX of a mailbox.
func NewInbox(c *db.Conn, mailbox int64) error {
	id, err := NewFolder(c, mailbox, Inbox)
	if err == nil {
		_, _, err = c.Exec("UPDATE mailbox SET inbox = ?2 WHERE id = ?1", mailbox, id)
	}
	return err
}

// nextValidity returns a UIDVALIDITY that no folder had before (RFC 9051 section 2.3.1.1):
// the time in Unix seconds, or one more than the last validity if that is higher.
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

// RenewValidity gives folders a new validity, because their uids may be given again. which
// is a condition on rows of folder.
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

// PlaceOf finds a folder of a mailbox. Folder 0 is INBOX. Errors: [storage.ErrNoMaildrop],
// [storage.ErrNoFolder], or an unexpected one.
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
