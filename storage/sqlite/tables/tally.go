package tables

import (
	"database/sql/driver"

	"mailsrv/quota"
)

// Counters is the row of tally of a mailbox's INBOX.
type Counters struct {
	Place
	Held  quota.Usage // in INBOX
	Usage quota.Usage // in all folders
	Last  int64       // highest uid given in INBOX
}

// CounterColumns are the columns that [ScanCounters] reads, in its order.
const CounterColumns = "folder, octets, messages, all_octets, all_messages, last"

// ScanCounters returns the counters in a row of [CounterColumns] of a mailbox's INBOX.
func ScanCounters(mailbox int64, row []driver.Value) Counters {
	folder := row[0].(int64)
	return Counters{
		Place: Place{mailbox, folder, folder},
		Held:  quota.Usage{Octets: row[1].(int64), Messages: row[2].(int64)},
		Usage: quota.Usage{Octets: row[3].(int64), Messages: row[4].(int64)},
		Last:  row[5].(int64),
	}
}
