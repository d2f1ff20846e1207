package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/listen"
	"mailsrv/internal/logs"
	"mailsrv/internal/mail"
)

var (
	// ErrRefused is the one refusal for every reason: unknown or malformed
	// name, alias, wrong password, disabled mailbox.
	ErrRefused = errors.New("wrong name or password")
	// ErrBusy says that too many passwords wait to be computed: a temporary
	// failure.
	ErrBusy = errors.New("too many logins at once")
)

// replaceTimeout bounds how long a login waits for its new hash to be stored.
const replaceTimeout = 5 * time.Second

// Directory is what logging in needs; directory.Directory has it.
type Directory interface {
	Lookup(ctx context.Context, a mail.Address) (directory.Match, error)
	SetHash(ctx context.Context, id mail.MailboxID, old, hash string) error
}

var _ Directory = directory.Directory(nil)

// Options are the settings of an Authenticator.
type Options struct {
	Logger *slog.Logger // required
}

// Authenticator verifies logins. Its methods may be called at once.
type Authenticator struct {
	dir      Directory
	logger   *slog.Logger
	throttle *throttle
	memory   *memory
	queue    queue
	floor    floor
	dummy    passwordHash // computed where there is no hash to compare with

	now     func() time.Time
	sleep   func(context.Context, time.Duration) error
	compute func(h passwordHash, password string) bool
}

// New returns an Authenticator for the mailboxes of dir.
func New(dir Directory, options Options) *Authenticator {
	return &Authenticator{
		dir:      dir,
		logger:   options.Logger,
		throttle: newThrottle(),
		memory:   newMemory(),
		queue:    newQueue(),
		dummy:    dummyHash(),
		now:      time.Now,
		sleep:    sleep,
		compute:  func(h passwordHash, password string) bool { return h.matches([]byte(password)) },
	}
}

// Login returns the mailbox that name and password open. The name is the full
// address, in any case; spaces around it are not trimmed. A client that failed
// before, or guesses on many connections, waits inside Login, up to half a minute.
//
// Errors: ErrRefused, returned early if ctx ends while it is held back; ErrBusy;
// the context's; any other is unexpected and means "try again later".
func (a *Authenticator) Login(ctx context.Context, client netip.Addr, name, password string) (directory.Mailbox, error) {
	var address mail.Address // zero for a malformed name: nothing is there either
	if parsed, err := mail.ParseAddress(name); err == nil {
		address = parsed.Fold()
	}
	try := a.throttle.begin(a.now(), listen.Network(client), address)
	defer a.throttle.leave(try)
	// A stranger waits before the password is looked at: no quick answer tells
	// a right one, and hanging up early costs no computation.
	if err := a.wait(ctx, try); err != nil {
		return directory.Mailbox{}, err
	}
	start := a.now()
	proof, err := a.prove(ctx, address, password)
	switch {
	case err != nil:
		return directory.Mailbox{}, err
	case proof.ok:
		a.throttle.succeeded(a.now(), try)
		return proof.mailbox, nil
	}
	delay := a.throttle.failed(a.now(), try)
	answer := start.Add(proof.queued + a.floor.get() + delay)
	_ = a.sleep(ctx, answer.Sub(a.now())) // the refusal stands also when nobody waits for it
	return directory.Mailbox{}, ErrRefused
}

// wait holds a stranger back, as long as the throttle says.
func (a *Authenticator) wait(ctx context.Context, try attempt) error {
	for try.stranger != nil {
		turn, wake := context.WithCancel(ctx)
		err := a.sleep(turn, a.throttle.wait(a.now(), try, wake))
		wake()
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// proof is the outcome of comparing a password.
type proof struct {
	mailbox directory.Mailbox
	ok      bool
	queued  time.Duration // spent waiting for the computation
}

// prove compares password with what stands under address. Whatever is wrong,
// one hash is computed.
func (a *Authenticator) prove(ctx context.Context, address mail.Address, password string) (proof, error) {
	mailbox, err := a.find(ctx, address)
	if err != nil {
		return proof{}, err
	}
	hash := a.dummy
	var known fact
	if mailbox.Switches.Has(directory.LogsIn) && checkPassword(password) == nil {
		known = a.memory.fact(mailbox.Hash, password)
		if a.memory.holds(a.now(), known) {
			return proof{mailbox: mailbox, ok: true}, nil
		}
		hash = a.stored(mailbox)
	}

	var (
		matched     bool
		replacement string
		enqueued    = a.now()
		begun       time.Time
	)
	err = a.queue.do(ctx, func() {
		begun = a.now()
		matched = a.compute(hash, password)
		if hash.foreign {
			a.floor.raise(a.now().Sub(begun))
		}
		if matched && hash.outdated && len(password) <= hash.significant {
			replacement = newHash(password)
		}
	})
	if err != nil {
		return proof{}, err
	}
	if !matched {
		return proof{queued: begun.Sub(enqueued)}, nil
	}
	if replacement != "" && a.replace(ctx, mailbox, replacement) {
		mailbox.Hash = replacement
		known = a.memory.fact(replacement, password)
	}
	a.memory.add(a.now(), known)
	return proof{mailbox: mailbox, ok: true}, nil
}

// find returns the mailbox at address, or the zero Mailbox, which is not
// enabled.
func (a *Authenticator) find(ctx context.Context, address mail.Address) (directory.Mailbox, error) {
	if address.IsZero() {
		return directory.Mailbox{}, nil
	}
	match, err := a.dir.Lookup(ctx, address)
	switch {
	case err != nil:
		return directory.Mailbox{}, fmt.Errorf("look up a login: %w", err)
	case match.Mailbox == nil:
		return directory.Mailbox{}, nil
	}
	return *match.Mailbox, nil
}

// stored returns the hash of m, or the dummy if that one cannot be used.
func (a *Authenticator) stored(m directory.Mailbox) passwordHash {
	hash, err := parseHash(m.Hash)
	if err != nil {
		a.logger.Warn(logs.Warning, logs.Mailbox, m.Address.String(),
			logs.Reason, "the stored password hash cannot be used: set a new password", logs.Error, err)
		return a.dummy
	}
	return hash
}

// replace stores a hash of our own making for one from another system, and
// reports whether that went well; if not, the next login tries again.
func (a *Authenticator) replace(ctx context.Context, m directory.Mailbox, hash string) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), replaceTimeout)
	defer cancel()
	err := a.dir.SetHash(ctx, m.ID, m.Hash, hash)
	if err != nil {
		a.logger.Warn(logs.Warning, logs.Mailbox, m.Address.String(),
			logs.Reason, "the password hash could not be replaced by a stronger one", logs.Error, err)
	}
	return err == nil
}

// sleep waits for d or until ctx ends, and returns the context's error then.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
