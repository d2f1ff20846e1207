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

// mailbox is a directory.Mailbox, whose Effective is not kept, with its mail.
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
	last     storage.UID    // highest given
	modseq   storage.ModSeq // counts commits that add, remove or flag
	expunged storage.ModSeq // modseq of the last removal
	entries  []*entry
}

// entry is one message in one folder.
type entry struct {
	storage.Detail
	content   *content
	own       string
	retrieved int64 // by POP3, in Unix seconds; 0: not
}

// content is what all recipients of a delivery share. It never changes.
type content struct {
	prefix string // ReturnPath and Trace
	pieces [][]byte
}

// aside is what was deleted and can be brought back, outside the counters.
type aside struct {
	entry     *entry
	folder    storage.FolderID // to which it comes back
	at, until int64            // Unix seconds
	number    int64            // in the order of deletion, of all mailboxes
}

// octets is what the message's parts have.
func (e *entry) octets() int64 {
	octets := int64(len(e.content.prefix) + len(e.own))
	for _, piece := range e.content.pieces {
		octets += int64(len(piece))
	}
	return octets
}

// newFolder makes a folder of a mailbox.
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

// find returns the message of a uid, or nil.
func (f *folder) find(uid storage.UID) *entry {
	i, ok := slices.BinarySearchFunc(f.entries, uid, func(e *entry, uid storage.UID) int { return cmp.Compare(e.UID, uid) })
	if !ok {
		return nil
	}
	return f.entries[i]
}

// add puts a message under a uid above all that the folder has given, and counts it.
func (f *folder) add(m *mailbox, uid storage.UID, e *entry) {
	f.last = uid
	f.modseq++
	e.UID, e.ModSeq = uid, f.modseq
	f.entries = append(f.entries, e)
	one := quota.Usage{Octets: e.Octets, Messages: 1}
	f.held, m.Usage = f.held.Add(one), m.Usage.Add(one)
}

// expunge removes the messages that gone names. It is the one way out: it counts the
// folder's modseq and takes what goes out of the counters. For keep they can be brought
// back; 0: they cannot.
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

// sortedByID are the mailboxes in the order in which they were added.
func sortedByID(all map[mail.MailboxID]*mailbox) []*mailbox {
	list := make([]*mailbox, 0, len(all))
	for _, m := range all {
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b *mailbox) int { return cmp.Compare(a.ID, b.ID) })
	return list
}
