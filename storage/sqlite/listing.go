package sqlite

import (
	"context"
	"database/sql/driver"
	"strings"

	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// perText is the number of compacted entries whose values are read as one text.
const perText = 1000

// listing says how to read some columns of messages into values of type T, one for each
// message.
//
// A row costs the driver more time than SQLite. Reading one text for each column, with a
// thousand values in it, takes half the time. Each column costs time too, so POP3's listing
// reads only what it shows. The text of the UIDLs stays in memory as long as they do.
type listing[T any] struct {
	arrivals string // query of arrival: id, then the columns
	entries  string // the same of entry, each column as a text of many values
	columns  int
	row      func(row []driver.Value) T // makes a value of a row of arrivals
	words    func(texts []text) T       // makes a value of the first value of each text
	uid      func(T) storage.UID
	whole    func(T) bool // reports whether no value was missing
}

// listingOf completes a listing for these columns. uid is put before them and uidl behind.
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

// The listings of a maildrop.
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

// list reads at most most messages of a snapshot, beginning with the first uid that is not
// below from.
func list[T any](ctx context.Context, m *maildrop, l *listing[T], from storage.UID, most int) (all []T, err error) {
	err = m.store.readers.Use(ctx, func(c *db.Conn) error {
		all, err = l.read(c, tables.EntryID(m.Folder, int64(from)), tables.EntryID(m.Folder, m.last), most, int(min(int64(most), m.usage.Messages)))
		return err
	})
	return all, err
}

// read returns at most most messages whose entries have ids from first to last. expected is
// the number to make room for. It reads arrivals first: a message that is compacted
// meanwhile is then read twice, and never missed.
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
	newest := storage.UID(0) // highest uid of the compacted entries
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
				return nil, db.ErrRow // a value was NULL, which the texts leave out
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

// text is a list of values, separated by spaces.
type text string

// word removes and returns the first value, or "" if there is none.
func (t *text) word() string {
	word, rest, _ := strings.Cut(string(*t), " ")
	*t = text(rest)
	return word
}

// number removes and returns the first value, an integer that is not negative.
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
