package auth

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"mailsrv/internal/bounded"
	"mailsrv/internal/directory"
)

// Why a login does not count any more.
var (
	ErrRemoved  = errors.New("the mailbox was removed")
	ErrDisabled = errors.New("the mailbox was disabled")
	ErrChanged  = errors.New("the password was changed")
)

// Stands returns nil if a login still counts. Errors: [ErrRemoved], [ErrDisabled] or
// [ErrChanged] if it does not; any other means that it could not be found out.
func (a *Authenticator) Stands(ctx context.Context, l Login) error {
	match, err := a.dir.Lookup(ctx, l.Address)
	switch m := match.Mailbox; {
	case err != nil:
		return fmt.Errorf("look a login up again: %w", err)
	case m == nil || m.ID != l.Mailbox:
		return ErrRemoved
	case !m.Switches.Has(directory.LogsIn):
		return ErrDisabled
	default:
		if now := a.keyed.digest(m.Hash); now != l.hash && !a.heirs.came(now, l.hash) {
			return ErrChanged
		}
	}
	return nil
}

// heirCount is the least number of replaced hashes that are remembered. If one is
// forgotten, sessions that began before it was replaced end.
const heirCount = 10_000

// heirs knows which stored hash replaced which one for the same password. The new hashes
// were made here at a login; the password was not changed.
type heirs struct {
	mu sync.Mutex
	of *bounded.Table[digest, digest] // by the new one: the old one
}

func newHeirs() heirs { return heirs{of: bounded.NewTable[digest, digest](heirCount)} }

// add notes that hash is about to be stored in place of old.
func (h *heirs) add(hash, old digest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.of.Put(hash, old)
}

// came reports whether hash replaced old.
func (h *heirs) came(hash, old digest) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	known, ok := h.of.Get(hash)
	return ok && known == old
}
