package memory

import (
	"cmp"
	"slices"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
)

// mailbox is a directory.Mailbox with its mail. Effective is not set.
type mailbox struct {
	directory.Mailbox
	inbox   *folder
	folders map[storage.FolderID]*folder
	aside   []aside // in the order of deletion
}

// folder holds messages in the order of their uids.
type folder struct {
	id       storage.FolderID
	validity int64
	held     quota.Usage
	last     storage.UID    // highest uid given
	modseq   storage.ModSeq // of the last commit that added, removed or flagged messages
	expunged storage.ModSeq // of the last commit that removed messages
	entries  []*entry
}

// entry is one message in one folder.
type entry struct {
	storage.Detail
	content   *content
	own       string
	retrieved int64 // by POP3, in Unix seconds; 0: not retrieved
}

// content is what all recipients of a delivery share. It never changes.
type content struct {
	prefix string // ReturnPath and Trace
	pieces [][]byte
}

// aside is a deleted message that can be brought back. The counters do not include it.
type aside struct {
	entry     *entry
	folder    storage.FolderID // where it was
	at, until int64            // deleted at, kept until: Unix seconds
	number    int64            // in the order of deletion, of all mailboxes
}

// octets returns the size of the message's parts.
func (e *entry) octets() int64 {
	octets := int64(len(e.content.prefix) + len(e.own))
	for _, piece := range e.content.pieces {
		octets += int64(len(piece))
	}
	return octets
}

// newFolder adds a folder to a mailbox.
func (s *Store) newFolder(m *mailbox) *folder {
	s.lastFolder++
	s.lastValidity = max(s.lastValidity+1, time.Now().Unix())
	f := &folder{id: s.lastFolder, validity: s.lastValidity, modseq: 1}
	m.folders[f.id] = f
	return f
}

// folderOf returns a folder of a mailbox, or nil; folder 0 is INBOX.
func (m *mailbox) folderOf(id storage.FolderID) *folder {
	if id == 0 {
		return m.inbox
	}
	return m.folders[id]
}

// find returns the message with a uid, or nil.
func (f *folder) find(uid storage.UID) *entry {
	i, ok := slices.BinarySearchFunc(f.entries, uid, func(e *entry, uid storage.UID) int { return cmp.Compare(e.UID, uid) })
	if !ok {
		return nil
	}
	return f.entries[i]
}

// add adds a message to the folder and to the counters. The uid must be above all that
// the folder has given.
func (f *folder) add(m *mailbox, uid storage.UID, e *entry) {
	f.last = uid
	f.modseq++
	e.UID, e.ModSeq = uid, f.modseq
	f.entries = append(f.entries, e)
	one := quota.Usage{Octets: e.Octets, Messages: 1}
	f.held, m.Usage = f.held.Add(one), m.Usage.Add(one)
}

// expunge removes the messages that gone returns true for, and returns their usage. All
// removals go through it: it raises the folder's modseq and lowers the counters. The
// messages can be brought back for the time keep; 0: they cannot.
func (s *Store) expunge(m *mailbox, f *folder, now time.Time, keep time.Duration, gone func(*entry) bool) (removed quota.Usage) {
	f.entries = slices.DeleteFunc(f.entries, func(e *entry) bool {
		if !gone(e) {
			return false
		}
		removed = removed.Add(quota.Usage{Octets: e.Octets, Messages: 1})
		if keep > 0 {
			s.lastAside++
			m.aside = append(m.aside, aside{e, f.id, now.Unix(), now.Add(keep).Unix(), s.lastAside})
		}
		return true
	})
	if removed.Messages > 0 {
		f.modseq++
		f.expunged = f.modseq
		less := quota.Usage{Octets: -removed.Octets, Messages: -removed.Messages}
		f.held, m.Usage = f.held.Add(less), m.Usage.Add(less)
	}
	if keep > 0 {
		s.boundAside(m)
	}
	return removed
}

// sortedByID returns the mailboxes in the order in which they were added.
func sortedByID(all map[mail.MailboxID]*mailbox) []*mailbox {
	list := make([]*mailbox, 0, len(all))
	for _, m := range all {
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b *mailbox) int { return cmp.Compare(a.ID, b.ID) })
	return list
}
