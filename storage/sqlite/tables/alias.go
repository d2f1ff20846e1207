package tables

import (
	"database/sql/driver"

	"mailsrv/internal/mail"
	"mailsrv/storage/sqlite/db"
)

// TargetsOf returns the targets of the alias with this id, sorted by domain and local part.
func TargetsOf(c *db.Conn, alias int64) ([]mail.Address, error) {
	var targets []mail.Address
	err := c.Each("SELECT local, domain FROM target WHERE alias = ? ORDER BY domain, local", func(row []driver.Value) error {
		targets = append(targets, mail.Address{Local: row[0].(string), Domain: row[1].(string)})
		return nil
	}, alias)
	return targets, err
}

// Aliases implements directory.Aliases inside the caller's transaction.
type Aliases struct{ *db.Conn }

// Targets implements directory.Aliases.
func (all Aliases) Targets(a mail.Address) ([]mail.Address, error) {
	id, err := all.Number("SELECT a.id FROM alias a JOIN domain d ON d.id = a.domain WHERE d.name = ? AND a.local = ?", a.Domain, a.Local)
	if err != nil || id == 0 {
		return nil, err
	}
	return TargetsOf(all.Conn, id)
}

// Naming implements directory.Aliases.
func (all Aliases) Naming(a mail.Address) (naming []mail.Address, err error) {
	err = all.Each(`SELECT a.local, d.name FROM target t JOIN alias a ON a.id = t.alias JOIN domain d ON d.id = a.domain
WHERE t.local = ? AND t.domain = ?`, func(row []driver.Value) error {
		naming = append(naming, mail.Address{Local: row[0].(string), Domain: row[1].(string)})
		return nil
	}, a.Local, a.Domain)
	return naming, err
}
