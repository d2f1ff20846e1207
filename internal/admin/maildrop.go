package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"mailsrv/internal/directory"
	"mailsrv/internal/logs"
	"mailsrv/quota"
	"mailsrv/storage"
)

// perTransaction is how many messages one transaction removes, so that no
// delivery waits long for it.
const perTransaction = 200

func (a *Admin) open(ctx context.Context, address string) (directory.Mailbox, storage.Maildrop, []storage.Entry, error) {
	m, err := a.mailbox(ctx, address)
	if err != nil {
		return m, nil, nil, err
	}
	drop, err := a.Store.OpenMaildrop(ctx, m.ID)
	if err != nil {
		return m, nil, nil, fmt.Errorf("open the maildrop of %s: %w", m.Address, err)
	}
	entries, err := storage.AllEntries(ctx, drop)
	if err != nil {
		return m, nil, nil, fmt.Errorf("read the maildrop of %s: %w", m.Address, err)
	}
	return m, drop, entries, nil
}

// WriteMessage copies one message, named by its number or its UIDL, octet for
// octet. After an error w may hold a part of it.
func (a *Admin) WriteMessage(ctx context.Context, address, which string, w io.Writer) error {
	m, drop, entries, err := a.open(ctx, address)
	if err != nil {
		return err
	}
	entry, found := choose(entries, which)
	if !found {
		return advise(directory.ErrNotFound, "there is no message %q in the maildrop of %s: see: mailsrv maildrop list %s", which, m.Address, m.Address)
	}
	switch err := copyMessage(ctx, drop, entry, w); {
	case errors.Is(err, storage.ErrGone):
		return advise(err, "message %s was just removed: see: mailsrv maildrop list %s", which, m.Address)
	case errors.Is(err, storage.ErrDamaged):
		return advise(err, "message %s is damaged on the disk: see: mailsrv check", which)
	case err != nil:
		return fmt.Errorf("read message %s of %s: %w", which, m.Address, err)
	}
	return nil
}

func copyMessage(ctx context.Context, drop storage.Maildrop, e storage.Entry, w io.Writer) error {
	message, err := drop.Message(ctx, e, 0)
	if err != nil {
		return err
	}
	defer message.Close()
	for {
		piece, err := message.Next(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
}

// choose finds the entry that a number in reach names, or else a UIDL.
func choose(entries []storage.Entry, which string) (storage.Entry, bool) {
	if n, err := strconv.Atoi(which); err == nil && 1 <= n && n <= len(entries) {
		return entries[n-1], true
	}
	return withUIDL(entries, which)
}

func withUIDL(entries []storage.Entry, uidl string) (storage.Entry, bool) {
	for _, e := range entries {
		if e.UIDL == uidl {
			return e, true
		}
	}
	return storage.Entry{}, false
}

// Purge removes messages from a maildrop: those with the UIDLs named, or with
// none named all that are there now. What the mailbox's retention lets be undone
// can be brought back with Undelete. What was removed is returned also with an
// error: the removal is several transactions.
func (a *Admin) Purge(ctx context.Context, address string, uidls []string) (quota.Usage, error) {
	m, drop, entries, err := a.open(ctx, address)
	if err != nil {
		return quota.Usage{}, err
	}
	if len(uidls) > 0 {
		byUIDL := make(map[string]storage.Entry, len(entries))
		for _, e := range entries {
			byUIDL[e.UIDL] = e
		}
		chosen := make([]storage.Entry, 0, len(uidls))
		named := make(map[storage.UID]bool, len(uidls))
		for _, uidl := range uidls {
			e, found := byUIDL[uidl]
			if !found {
				return quota.Usage{}, advise(directory.ErrNotFound,
					"there is no message with the UIDL %q in the maildrop of %s, and nothing was removed: see: mailsrv maildrop list %s", uidl, m.Address, m.Address)
			}
			if !named[e.UID] {
				named[e.UID] = true
				chosen = append(chosen, e)
			}
		}
		entries = chosen
	}
	var removed quota.Usage
	for part := range slices.Chunk(entries, perTransaction) {
		gone, err := drop.Update(ctx, nil, storage.Change{Expunge: storage.UIDs(part)})
		if err != nil {
			return removed, fmt.Errorf("remove messages of %s: %w", m.Address, err)
		}
		removed = removed.Add(gone)
		a.logPurged(m, part, gone)
	}
	return removed, nil
}

// perLine is how many messages a line of the log names.
const perLine = 32

// logPurged says which messages were removed, on as many lines as that takes; the
// first one says how much it was.
func (a *Admin) logPurged(m directory.Mailbox, entries []storage.Entry, removed quota.Usage) {
	amount := []any{logs.Messages, removed.Messages, logs.Octets, removed.Octets}
	for part := range slices.Chunk(entries, perLine) {
		var uidls []string
		for _, e := range part {
			uidls = append(uidls, e.UIDL)
		}
		a.Logger.Info(logs.Expunged, append(append([]any{logs.Mailbox, m.Address}, amount...),
			logs.ID, strings.Join(uidls, " "), logs.Reason, "purged by the administrator")...)
		amount = nil
	}
}
