package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/logs"
	"mailsrv/internal/mail"
)

var (
	// ErrRefused is the one refusal for every reason: unknown or malformed name, alias,
	// wrong password, disabled mailbox. Login returns it as a *[Refusal], which has the
	// reason.
	ErrRefused = errors.New("wrong name or password")
	// ErrBusy means that too many passwords wait to be computed. It is a temporary
	// failure.
	ErrBusy = errors.New("too many logins at once")
)

// Refusal is a refused login. errors.Is takes it for [ErrRefused], and it has the same
// text. Its fields are for the log alone, never for the peer.
type Refusal struct {
	Reason string
	Delay  time.Duration // held back for earlier failures, in tenths of a second
}

func (*Refusal) Error() string { return ErrRefused.Error() }

func (*Refusal) Is(target error) bool { return target == ErrRefused }

// Login is the result of a successful login: the mailbox whose owner the client is. It
// holds no secret.
type Login struct {
	Mailbox   mail.MailboxID
	Address   mail.Address
	Retrieved time.Duration // how long retrieved messages stay; 0: for good
	Delay     time.Duration // held back for earlier failures, in tenths of a second

	hash digest // of the stored hash that the password was compared with
}

// replaceTimeout bounds how long a login waits for its new hash to be stored.
const replaceTimeout = 5 * time.Second

// Directory is what an [Authenticator] needs of a directory. Every [directory.Directory]
// implements it.
type Directory interface {
	Lookup(ctx context.Context, a mail.Address) (directory.Match, error)
	SetHash(ctx context.Context, id mail.MailboxID, old, hash string) error
}

var _ Directory = directory.Directory(nil)

// Options are the settings of an [Authenticator].
type Options struct {
	Logger *slog.Logger // required
}

// Authenticator verifies logins. All methods are safe for concurrent use.
type Authenticator struct {
	dir      Directory
	logger   *slog.Logger
	throttle *throttle
	keyed    *keyed
	memory   *memory
	heirs    heirs
	queue    *queue
	floor    floor
	dummy    passwordHash // computed if there is no hash to compare with

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
		keyed:    newKeyed(),
		memory:   newMemory(),
		heirs:    newHeirs(),
		queue:    newQueue(),
		dummy:    dummyHash(),
		now:      time.Now,
		sleep:    sleep,
		compute:  func(h passwordHash, password string) bool { return h.matches([]byte(password)) },
	}
}

// Login checks a name and a password. The name is the full address, in upper or lower
// case; spaces around it are not trimmed. A client that failed before, or guesses on many
// connections, waits inside Login for up to half a minute.
//
// Errors: a *[Refusal], returned early if ctx ends while it is held back; [ErrBusy]; the
// context's; any other is unexpected and means "try again later".
func (a *Authenticator) Login(ctx context.Context, client netip.Addr, name, password string) (Login, error) {
	who, networks := identify(name), networksOf(client)
	try := a.throttle.begin(a.now(), networks, who)
	defer a.throttle.leave(try)
	// A stranger waits before the password is looked at: no quick answer tells
	// a right one, and hanging up early costs no computation.
	if err := a.wait(ctx, try); err != nil {
		return Login{}, err
	}
	start := a.now()
	waited := start.Sub(try.begun)
	proof, err := a.prove(ctx, try, who, password)
	switch {
	case err != nil:
		return Login{}, err
	case proof.refused == "":
		a.throttle.succeeded(a.now(), try)
		proof.login.Delay = waited.Round(delayUnit)
		return proof.login, nil
	}
	guess := a.keyed.digest(networks[0].prefix.String(), who.String(), password)
	held := a.throttle.failed(a.now(), try, guess)
	answer := start.Add(proof.queued + a.floor.get(a.now()) + held)
	_ = a.sleep(ctx, answer.Sub(a.now())) // the refusal stands, also if ctx has ended
	return Login{}, &Refusal{Reason: proof.refused, Delay: (waited + held).Round(delayUnit)}
}

// delayUnit is the unit in which delays are reported. Less is no delay.
const delayUnit = 100 * time.Millisecond

// wait holds a stranger back for as long as the throttle says.
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
	login   Login
	refused string        // why, for the log; empty: the password is right
	queued  time.Duration // spent waiting for the computation
}

// prove compares password with the stored hash of a name. Whatever is wrong, it computes
// one hash, so that the time taken tells nothing.
func (a *Authenticator) prove(ctx context.Context, try attempt, who identity, password string) (proof, error) {
	mailbox, missing, err := a.find(ctx, who)
	if err != nil {
		return proof{}, err
	}
	hash := a.dummy
	var found Login
	var known digest
	asks := place{networks: try.networks, name: try.name, owner: try.stranger == nil, known: try.known || try.stranger == nil}
	unlike := "" // why no password can be this one
	switch {
	case password == "":
		unlike = "no password was sent"
	case !possible(password):
		unlike = "longer than any password"
	}
	if mailbox != nil {
		found = Login{
			Mailbox: mailbox.ID, Address: mailbox.Address, Retrieved: mailbox.Effective.Retention.Retrieved,
			hash: a.keyed.digest(mailbox.Hash),
		}
		if possible(password) {
			known = a.keyed.digest(mailbox.Hash, password)
			if mailbox.Switches.Has(directory.LogsIn) && a.memory.holds(a.now(), known) {
				return proof{login: found}, nil
			}
			if a.memory.knew(a.now(), known) {
				asks.owner, asks.known = true, true
			}
			if hash = a.stored(mailbox); len(password) > hash.longest {
				unlike = fmt.Sprintf("the password has more than %d octets, which no hash of this kind is computed for: set a new one", hash.longest)
				hash = a.dummy
			}
		}
	}

	var (
		matched     bool
		replacement string
		enqueued    = a.now()
		begun       time.Time
	)
	err = a.queue.do(ctx, asks, func() {
		begun = a.now()
		matched = a.compute(hash, password)
		if hash.foreign {
			a.floor.raise(a.now(), a.now().Sub(begun))
		}
		if matched && hash.outdated && mailbox.Switches.Has(directory.LogsIn) && len(password) <= hash.significant {
			replacement = newHash(password)
		}
	})
	refused := ""
	switch {
	case err != nil:
		return proof{}, err
	case mailbox == nil:
		refused = missing
	case !mailbox.Switches.Has(directory.LogsIn) && matched:
		refused = "mailbox is disabled, right password"
	case !mailbox.Switches.Has(directory.LogsIn):
		refused = "mailbox is disabled, wrong password"
	case unlike != "":
		refused = unlike
	case !matched:
		refused = "wrong password"
	}
	if refused != "" {
		return proof{refused: refused, queued: begun.Sub(enqueued)}, nil
	}
	if replacement != "" && a.replace(ctx, mailbox, replacement) {
		known = a.keyed.digest(replacement, password)
	}
	a.memory.add(a.now(), known)
	return proof{login: found}, nil
}

// find returns the mailbox of a name. If there is none, it returns nil and why, for the log.
func (a *Authenticator) find(ctx context.Context, who identity) (m *directory.Mailbox, missing string, err error) {
	if who.address.IsZero() {
		if strings.Contains(who.other, "@") {
			return nil, "the name is no address", nil
		}
		return nil, "no domain in the name", nil
	}
	match, err := a.dir.Lookup(ctx, who.address)
	switch {
	case err != nil:
		return nil, "", fmt.Errorf("look up a login: %w", err)
	case match.Mailbox != nil:
		return match.Mailbox, "", nil
	case match.Alias != nil:
		return nil, match.Alias.Address.String() + " is an alias, which has no login", nil
	case !match.Hosted:
		return nil, "domain is not hosted here", nil
	}
	return nil, "no such mailbox", nil
}

// stored returns the parsed hash of m, or the dummy if there is none that can be used.
func (a *Authenticator) stored(m *directory.Mailbox) passwordHash {
	hash, err := parseHash(m.Hash)
	if err != nil {
		a.logger.Warn(logs.Warning, logs.Mailbox, m.Address.String(),
			logs.Reason, "the stored password hash cannot be used: set a new password", logs.Error, err)
		return a.dummy
	}
	return hash
}

// replace stores a hash of our own in place of one from another system, and reports
// whether it was stored. If not, the next login tries again.
func (a *Authenticator) replace(ctx context.Context, m *directory.Mailbox, hash string) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), replaceTimeout)
	defer cancel()
	a.heirs.add(a.keyed.digest(hash), a.keyed.digest(m.Hash)) // before others can read the new hash
	err := a.dir.SetHash(ctx, m.ID, m.Hash, hash)
	if err != nil {
		a.logger.Warn(logs.Warning, logs.Mailbox, m.Address.String(),
			logs.Reason, "the password hash could not be replaced by a stronger one", logs.Error, err)
	}
	return err == nil
}

// sleep waits for d. If ctx ends first, it returns the context's error.
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
