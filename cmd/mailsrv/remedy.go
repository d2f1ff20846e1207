package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"mailsrv/internal/logs"
	"mailsrv/storage"
)

// remedies tell an operator what to do about an error of the store, whose text tells only
// what is wrong. The first that fits counts.
var remedies = []struct {
	err    error
	remedy string
}{
	{storage.ErrLocked, "stop it first, or choose another data_dir"},
	{storage.ErrOccupied, "try again when it has ended"},
	{storage.ErrUsed, "end it first"},
	{storage.ErrKept, "move it elsewhere first"},
	{storage.ErrNewer, "install that version, or restore a backup made by this one"},
	{storage.ErrEarly, "move it elsewhere, or choose another data_dir"},
	{storage.ErrForeign, "choose another data_dir or storage.url"},
	{storage.ErrLost, "only a backup helps: move the files of the database elsewhere and run mailsrv restore FILE"},
	{storage.ErrDamaged, "mailsrv check names all that are, a backup has it"},
	{storage.ErrCorrupt, "stop the server and run mailsrv check --repair, which saves what can be read, or restore a backup"},
	{storage.ErrBackup, "wait until it has ended, or choose another name"},
	{storage.ErrNotEmpty, "restore into an empty one"},
	{storage.ErrLeap, "where the clock is right, end that with: mailsrv check --clock-is-right"},
	{storage.ErrReadOnly, "restart the server when the disk is sound"},
}

// findingRemedies tell an operator what to do about a finding.
var findingRemedies = map[storage.Remedy]string{
	storage.Repair:        "mailsrv check --repair mends it",
	storage.Rebuild:       "mailsrv check --repair saves what can be read, or restore a backup",
	storage.Restore:       "restore a backup",
	storage.RestoreOrMake: "restore a backup instead, or make what is missing again",
	storage.RemoveMessage: "restore a backup, or remove the message with mailsrv maildrop purge",
	storage.RemoveCopies:  "remove all but one with mailsrv maildrop purge",
	storage.RemoveOne:     "remove one of them",
	storage.RemoveTarget:  "remove it with mailsrv alias remove",
	storage.NewMailbox:    "move its mail to a new mailbox, and give that the address",
	storage.SetDomain:     "set them with mailsrv domain set",
	storage.SetMailbox:    "set them with mailsrv mailbox passwd and mailsrv mailbox set",
	storage.ReadMail:      "mailsrv maildrop read shows for whom it was",
}

// advised returns a finding in words, with what to do about it.
func advised(f storage.Finding) string {
	if what, ok := findingRemedies[f.Remedy]; ok {
		return f.String() + ": " + what
	}
	return f.String()
}

// remedied adds what to do to an error, if that is known.
func remedied(err error) error {
	for _, r := range remedies {
		if errors.Is(err, r.err) {
			return fmt.Errorf("%w: %s", err, r.remedy)
		}
	}
	return err
}

// remedial is a slog.Handler that adds to errors what to do about them.
type remedial struct{ slog.Handler }

// Handle implements slog.Handler.
func (h remedial) Handle(ctx context.Context, r slog.Record) error {
	var failed error
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == logs.Error {
			failed, _ = a.Value.Any().(error)
		}
		return failed == nil
	})
	if failed == nil { // as with nearly every line
		return h.Handler.Handle(ctx, r)
	}
	with := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == logs.Error {
			a = slog.Any(logs.Error, remedied(failed))
		}
		with.AddAttrs(a)
		return true
	})
	return h.Handler.Handle(ctx, with)
}

// WithAttrs implements slog.Handler.
func (h remedial) WithAttrs(attrs []slog.Attr) slog.Handler {
	return remedial{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h remedial) WithGroup(name string) slog.Handler { return remedial{h.Handler.WithGroup(name)} }
