package sqlite

import (
	"context"
	"database/sql/driver"
	"strings"

	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// perText is how many compacted entries are read as one text.
const perText = 1000

// listing is how rows of some columns are read into values, one a message.
//
// A row costs the driver more than SQLite: a text of a thousand values of each column
// takes half the time. Each column costs too, so that POP3's list reads no more than
// it shows. The text of the UIDLs stays as long as they do.
type listing[T any] struct {
	arrivals string // columns of arrival: id, then the others
	entries  string // the same of entry, each a text of many values
	columns  int
	row      func(row []driver.Value) T // of arrivals
	words    func(texts []text) T       // cuts the first value of each
	uid      func(T) storage.UID
	whole    func(T) bool // no value was missing
}

// listingOf reads the given columns; the first of all is uid, the last uidl.
func listingOf[T any](l listing[T], columns ...string) listing[T] {
	joined := strings.Join(columns, ", ")
	l.columns = len(columns) + 2
	l.arrivals = "SELECT id, " + joined + ", uidl FROM arrival WHERE id BETWEEN ? AND ? ORDER BY number LIMIT ?"
	l.entries = "SELECT count(*), group_concat(uid, ' '), "
	for _, c := range columns {
		l.entries += "group_concat(" + c + ", ' '), "
	}
	l.entries += "group_concat(uidl, ' ') FROM (SELECT uid, " + joined + ", uidl FROM entry WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?)"
	return l
}

// What a maildrop lists.
var (
	entryListing = listingOf(listing[storage.Entry]{
		row: func(row []driver.Value) storage.Entry {
			return storage.Entry{UID: storage.UID(tables.UIDOf(row[0].(int64))), Octets: row[1].(int64), UIDL: row[2].(string)}
		},
		words: func(texts []text) storage.Entry {
			return storage.Entry{UID: storage.UID(texts[0].number()), Octets: texts[1].number(), UIDL: texts[2].word()}
		},
		uid:   func(e storage.Entry) storage.UID { return e.UID },
		whole: func(e storage.Entry) bool { return e.UIDL != "" },
	}, "octets")

	detailListing = listingOf(listing[storage.Detail]{
		row: func(row []driver.Value) storage.Detail {
			return storage.Detail{
				Entry:   storage.Entry{UID: storage.UID(tables.UIDOf(row[0].(int64))), Octets: row[1].(int64), UIDL: row[5].(string)},
				Arrived: row[2].(int64), Flags: storage.Flags(row[3].(int64)), ModSeq: storage.ModSeq(row[4].(int64)),
			}
		},
		words: func(texts []text) storage.Detail {
			return storage.Detail{
				Entry:   storage.Entry{UID: storage.UID(texts[0].number()), Octets: texts[1].number(), UIDL: texts[5].word()},
				Arrived: texts[2].number(), Flags: storage.Flags(texts[3].number()), ModSeq: storage.ModSeq(texts[4].number()),
			}
		},
		uid:   func(d storage.Detail) storage.UID { return d.UID },
		whole: func(d storage.Detail) bool { return d.UIDL != "" },
	}, "octets", "arrived", "flags", "modseq")
)

// Entries implements storage.Maildrop.
func (m *maildrop) Entries(ctx context.Context, from storage.UID, most int) ([]storage.Entry, error) {
	return list(ctx, m, &entryListing, from, most)
}

// Details implements storage.Maildrop.
func (m *maildrop) Details(ctx context.Context, from storage.UID, most int) ([]storage.Detail, error) {
	return list(ctx, m, &detailListing, from, most)
}

// list reads messages of a snapshot, from a uid on, no more of them than most.
func list[T any](ctx context.Context, m *maildrop, l *listing[T], from storage.UID, most int) (all []T, err error) {
	err = m.store.readers.Use(ctx, func(c *db.Conn) error {
		all, err = l.read(c, tables.EntryID(m.Folder, int64(from)), tables.EntryID(m.Folder, m.last), most, int(min(int64(most), m.usage.Messages)))
		return err
	})
	return all, err
}

// read returns messages whose entries' ids are from first to last, no more of them than
// most; expected is the number to make room for. The arrivals are read first: what
// moves meanwhile is met twice, not missed.
func (l *listing[T]) read(c *db.Conn, first, last int64, most, expected int) ([]T, error) {
	var arrived []T
	err := c.Each(l.arrivals, func(row []driver.Value) error {
		arrived = append(arrived, l.row(row))
		return nil
	}, first, last, int64(most))
	if err != nil {
		return nil, err
	}
	all := make([]T, 0, expected)
	newest := storage.UID(0) // of those compacted
	for more := true; more && len(all) < most; {
		piece := min(perText, most-len(all))
		row, err := c.First(l.entries, first, last, int64(piece))
		if err != nil {
			return nil, err
		}
		found := int(row[0].(int64))
		more = found == piece
		texts := make([]text, l.columns)
		for i := range texts {
			all, _ := row[i+1].(string)
			texts[i] = text(all)
		}
		for range found {
			one := l.words(texts)
			if uid := l.uid(one); uid <= newest || !l.whole(one) {
				return nil, db.ErrRow // the texts leave out what is NULL
			}
			newest = l.uid(one)
			all = append(all, one)
		}
		for _, rest := range texts {
			if rest != "" {
				return nil, db.ErrRow
			}
		}
		first = max(first, first>>tables.UIDBits<<tables.UIDBits|int64(newest)+1)
	}
	for _, one := range arrived {
		if len(all) < most && l.uid(one) > newest {
			all = append(all, one)
		}
	}
	return all, nil
}

// text is values with a space between two.
type text string

// word cuts the first value; "": there is none.
func (t *text) word() string {
	word, rest, _ := strings.Cut(string(*t), " ")
	*t = text(rest)
	return word
}

// number cuts the first value, a whole number that is not negative.
func (t *text) number() (n int64) {
	for i := range len(*t) {
		c := (*t)[i]
		if c < '0' || c > '9' {
			*t = (*t)[i+1:]
			return n
		}
		n = n*10 + int64(c-'0')
	}
	*t = ""
	return n
}
