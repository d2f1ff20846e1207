package auth

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-crypt/crypt/algorithm/shacrypt"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
)

func TestLogin(t *testing.T) {
	f := newFixture()
	f.people.add(t, "look@me.com", mustHash(t, "secret"))
	f.people.add(t, "jörg@bücher.example", mustHash(t, "secret"))
	for _, name := range []string{
		"look@me.com", "LOOK@Me.Com", "look@me.com.", `"look"@me.com`,
		"jörg@bücher.example", "Jo\u0308RG@BÜCHER.example", "jörg@xn--bcher-kva.example",
	} {
		m, err := f.Login(t.Context(), home, name, "secret")
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if m.Mailbox == 0 || m.Address.IsZero() {
			t.Errorf("%s: login %+v", name, m)
		}
	}
}

// Every reason for a refusal looks and lasts the same, and costs one hash.
func TestRefusalsAreAlike(t *testing.T) {
	const (
		hashTime  = 40 * time.Millisecond
		foundTime = 3 * time.Millisecond
	)
	hash := mustHash(t, "secret")
	for _, test := range []struct{ name, login, password, reason string }{
		{"wrong password", "look@me.com", "wrong", "wrong password"},
		{"empty password", "look@me.com", "", "no password was sent"},
		{"endless password", "look@me.com", strings.Repeat("secret", 1000), "longer than any password"},
		{"password with NUL", "look@me.com", "secret\x00", "wrong password"},
		{"unknown name", "nobody@me.com", "secret", "no such mailbox"},
		{"unknown domain", "look@you.com", "secret", "domain is not hosted here"},
		{"no domain", "look", "secret", "no domain in the name"},
		{"malformed name", "lo ok@me.com", "secret", "the name is no address"},
		{"space before", " look@me.com", "secret", "the name is no address"},
		{"space behind", "look@me.com ", "secret", "the name is no address"},
		{"tag", "look+tag@me.com", "secret", "no such mailbox"},
		{"alias", "INFO@me.com", "secret", "info@me.com is an alias, which has no login"},
		{"catch-all", "@me.com", "secret", "the name is no address"},
		{"empty name", "", "secret", "no domain in the name"},
		{"disabled", "off@me.com", "secret", "mailbox is disabled, right password"},
		{"disabled, wrong password", "off@me.com", "wrong", "mailbox is disabled, wrong password"},
		{"disabled, outdated hash", "old@me.com", foreign[0].password, "mailbox is disabled, right password"},
		{"disabled, empty password", "off@me.com", "", "mailbox is disabled, wrong password"},
		{"no hash", "bare@me.com", "", "no password was sent"},
		{"unusable hash", "broken@me.com", "secret", "wrong password"},
		{"hash out of bounds", "absurd@me.com", "secret", "wrong password"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture()
			look := f.people.add(t, "look@me.com", hash)
			f.people.setSwitches(t, f.people.add(t, "off@me.com", hash), 0)
			f.people.setSwitches(t, f.people.add(t, "old@me.com", foreign[0].hash), 0)
			f.memory.add(f.now(), f.keyed.digest(hash, "secret")) // as before it was disabled
			f.people.add(t, "bare@me.com", "")
			f.people.add(t, "broken@me.com", "secret")
			f.people.add(t, "absurd@me.com", "$6$rounds=999999999$salt$"+strings.Repeat("a", 86))
			info := directory.Alias{Address: mail.Address{Local: "info", Domain: "me.com"}, Targets: []mail.Address{look}}
			if err := f.people.AddAlias(t.Context(), info); err != nil {
				t.Fatal(err)
			}
			mailboxes, err := f.people.Mailboxes(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			f.people.onLook = func(a mail.Address) {
				if a.Local == "" {
					t.Error("the catch-all was looked up")
				}
				if slices.ContainsFunc(mailboxes, func(m directory.Mailbox) bool { return m.Address == a }) {
					f.clock.pass(foundTime)
				}
			}
			compute := f.compute
			f.compute = func(h passwordHash, password string) bool {
				f.clock.pass(hashTime)
				return compute(h, password)
			}
			took, err := f.login(t, home, test.login, test.password)
			var refusal *Refusal
			if !errors.As(err, &refusal) || !errors.Is(err, ErrRefused) || err.Error() != ErrRefused.Error() {
				t.Fatalf("error %v", err)
			}
			if refusal.Reason != test.reason || refusal.Delay != 0 {
				t.Errorf("for the log: %q, delay %v", refusal.Reason, refusal.Delay)
			}
			if took != leastFloor {
				t.Errorf("took %v", took)
			}
			if f.computed != 1 {
				t.Errorf("%d hashes were computed", f.computed)
			}
		})
	}
}

// A mailbox whose hash from elsewhere is dear to compute must not stand out.
func TestRefusalsAreAlikeBesideDearHash(t *testing.T) {
	f := newFixture()
	f.people.add(t, "look@me.com", "$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2")
	f.compute = func(h passwordHash, _ string) bool {
		if h.foreign {
			f.clock.pass(2 * time.Second)
		}
		return false
	}
	known, _ := f.login(t, home, "look@me.com", "wrong")
	unknown, _ := f.login(t, home, "nobody@me.com", "wrong")
	if known != unknown || known <= 2*time.Second {
		t.Errorf("known name %v, unknown name %v", known, unknown)
	}

	f.floor.raise(f.now(), time.Hour)
	if got := f.floor.get(f.now()); got != mostFloor {
		t.Errorf("floor %v", got)
	}
}

// One guess at a dear hash makes refusals late for a while, not until a restart.
func TestFloorFalls(t *testing.T) {
	f := newFixture()
	f.people.add(t, "look@me.com", "$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2")
	f.compute = func(h passwordHash, _ string) bool {
		if h.foreign {
			f.clock.pass(3 * time.Second)
		}
		return false
	}
	f.login(t, home, "look@me.com", "wrong")
	before, _ := f.login(t, elsewhere(0), "nobody@me.com", "wrong")
	if before <= 3*time.Second {
		t.Errorf("at once: %v", before)
	}
	for i := range 12 { // an hour
		f.clock.pass(floorHalves)
		took, _ := f.login(t, elsewhere(i+1), unlike(i), "wrong")
		if took > before {
			t.Errorf("it rises from %v to %v", before, took)
		}
		before = took
	}
	if before != leastFloor {
		t.Errorf("after an hour: %v", before)
	}
	f.login(t, abroad, "look@me.com", "other")
	if again, _ := f.login(t, elsewhere(99), "someone@me.com", "wrong"); again <= 3*time.Second {
		t.Errorf("after another guess: %v", again)
	}
}

// sha-crypt costs the more the longer a password is: no stranger chooses that. What is
// too long is refused as whatever else is wrong, and up to a million rounds work.
func TestLongPasswordsCostNoSHA(t *testing.T) {
	for _, sha := range []shacrypt.Opt{shacrypt.WithSHA256(), shacrypt.WithSHA512()} {
		hasher, err := shacrypt.New(sha, shacrypt.WithRounds(1000))
		if err != nil {
			t.Fatal(err)
		}
		longest := strings.Repeat("x", maxSHAPassword)
		digest, err := hasher.Hash(longest)
		if err != nil {
			t.Fatal(err)
		}
		f := newFixture()
		f.people.add(t, "look@me.com", digest.Encode())
		f.people.add(t, "argon@me.com", mustHash(t, longest+"x"))
		foreigners := 0
		compute := f.compute
		f.compute = func(h passwordHash, password string) bool {
			if h.foreign {
				foreigners++
			}
			return compute(h, password)
		}
		for i, password := range []string{longest + "x", strings.Repeat("y", maxPassword)} {
			took, err := f.login(t, elsewhere(i), "look@me.com", password)
			var refusal *Refusal
			if !errors.As(err, &refusal) || took != leastFloor || !strings.Contains(refusal.Reason, "more than 128 octets") {
				t.Errorf("%d octets: %v after %v", len(password), err, took)
			}
		}
		if foreigners != 0 || f.computed != 2 {
			t.Errorf("%d hashes were computed, %d of them sha-crypt", f.computed, foreigners)
		}
		if _, err := f.login(t, home, "look@me.com", longest); err != nil {
			t.Errorf("128 octets: %v", err)
		}
		if _, err := f.login(t, home, "argon@me.com", longest+"x"); err != nil {
			t.Errorf("129 octets, of argon2id: %v", err)
		}
	}
	if err := ValidateHash("$6$rounds=1000000$saltsalt$" + strings.Repeat("a", 86)); err != nil {
		t.Errorf("a million rounds: %v", err)
	}
}

// What a refusal waited in the queue comes on top of its time, so that the
// queue does not hide one computation and show another.
func TestRefusalCountsFromTheQueue(t *testing.T) {
	f := newFixture()
	const queued = 3 * time.Second
	release := occupy(t, f)
	took := make(chan time.Duration)
	go func() {
		d, _ := f.login(t, home, "nobody@me.com", "wrong")
		took <- d
	}()
	waitFor(t, func() bool { waiting, _ := f.inQueue(); return waiting == 1 })
	f.clock.pass(queued)
	release()
	if got := <-took; got != queued+leastFloor {
		t.Errorf("took %v", got)
	}
}

// occupy keeps all cores computing until release is called.
func occupy(t *testing.T, f *fixture) (release func()) {
	var running, done sync.WaitGroup
	stop := make(chan struct{})
	for i := range f.queue.cores {
		running.Add(1)
		done.Go(func() {
			f.queue.do(context.Background(), ofClient(netip.AddrFrom4([4]byte{127, 0, 9, byte(i)}), uint64(i)), func() {
				running.Done()
				<-stop
			})
		})
	}
	running.Wait()
	release = sync.OnceFunc(func() {
		close(stop)
		done.Wait()
	})
	t.Cleanup(release)
	return release
}

func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}

func TestRememberedLoginCostsNoHash(t *testing.T) {
	f := newFixture()
	f.people.add(t, "look@me.com", mustHash(t, "secret"))
	for range 5 {
		if took, err := f.login(t, home, "look@me.com", "secret"); err != nil || took != 0 {
			t.Fatalf("took %v: %v", took, err)
		}
	}
	if f.computed != 1 {
		t.Errorf("%d hashes were computed", f.computed)
	}
	if _, err := f.login(t, abroad, "look@me.com", "secret"); err != nil || f.computed != 1 {
		t.Errorf("from elsewhere: %d hashes, %v", f.computed, err)
	}
	if _, err := f.login(t, home, "look@me.com", "wrong"); !errors.Is(err, ErrRefused) || f.computed != 2 {
		t.Errorf("a wrong password: %d hashes, %v", f.computed, err)
	}
	if _, err := f.login(t, home, "look@me.com", "wrong"); !errors.Is(err, ErrRefused) || f.computed != 3 {
		t.Errorf("the wrong password again: %d hashes, %v: failures must not be remembered", f.computed, err)
	}
	f.clock.pass(rememberFor)
	if _, err := f.login(t, home, "look@me.com", "secret"); err != nil || f.computed != 4 {
		t.Errorf("after an hour: %d hashes, %v", f.computed, err)
	}
}

func TestChangeCountsAtOnce(t *testing.T) {
	f := newFixture()
	m := f.people.add(t, "look@me.com", mustHash(t, "secret"))
	if _, err := f.login(t, home, "look@me.com", "secret"); err != nil {
		t.Fatal(err)
	}
	old := f.people.hash(t, m)
	f.people.setHash(t, m, mustHash(t, "changed"))
	if _, err := f.login(t, home, "look@me.com", "secret"); !errors.Is(err, ErrRefused) {
		t.Errorf("the old password: %v", err)
	}
	if _, err := f.login(t, home, "look@me.com", "changed"); err != nil {
		t.Errorf("the new password: %v", err)
	}
	f.people.setHash(t, m, old)
	f.people.setSwitches(t, m, 0)
	if _, err := f.login(t, home, "look@me.com", "secret"); !errors.Is(err, ErrRefused) {
		t.Errorf("a disabled mailbox with a remembered password: %v", err)
	}
	f.people.setSwitches(t, m, directory.AllOn)
	if _, err := f.login(t, home, "look@me.com", "secret"); err != nil {
		t.Errorf("enabled again: %v", err)
	}
}

// A login with an old hash must not undo a change of the password that was
// committed meanwhile.
func TestReplacingKeepsNewPassword(t *testing.T) {
	f := newFixture()
	m := f.people.add(t, "look@me.com", foreign[0].hash)
	changed := mustHash(t, "changed")
	compute := f.compute
	f.compute = func(h passwordHash, password string) bool {
		f.people.setHash(t, m, changed)
		return compute(h, password)
	}
	if _, err := f.login(t, home, "look@me.com", foreign[0].password); err != nil {
		t.Fatal(err) // it was right when it was looked up
	}
	if f.people.hash(t, m) != changed {
		t.Error("the new password was undone")
	}
	if _, err := f.login(t, home, "look@me.com", foreign[0].password); !errors.Is(err, ErrRefused) {
		t.Errorf("the old password: %v", err)
	}
}

func TestReplacingMayFail(t *testing.T) {
	f := newFixture()
	var log strings.Builder
	f.logger = slog.New(slog.NewTextHandler(&log, nil))
	f.people.add(t, "look@me.com", foreign[0].hash)
	f.people.setErr = errors.New("disk full")
	for range 2 {
		got, err := f.Login(t.Context(), home, "look@me.com", foreign[0].password)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Stands(t.Context(), got); err != nil {
			t.Errorf("its login does not stand: %v", err)
		}
	}
	if f.people.sets != 1 || f.computed != 1 {
		t.Errorf("%d tries, %d hashes: the login is remembered all the same", f.people.sets, f.computed)
	}
	if !strings.Contains(log.String(), "disk full") || !strings.Contains(log.String(), "look@me.com") {
		t.Errorf("log: %s", log.String())
	}
	for _, secret := range []string{foreign[0].password, foreign[0].hash, "$argon2id$"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

// A client that hangs up does not keep its hash from being replaced.
func TestReplacingOutlivesClient(t *testing.T) {
	f := newFixture()
	m := f.people.add(t, "look@me.com", foreign[0].hash)
	ctx, cancel := context.WithCancel(t.Context())
	compute := f.compute
	f.compute = func(h passwordHash, password string) bool {
		defer cancel()
		return compute(h, password)
	}
	if _, err := f.Login(ctx, home, "look@me.com", foreign[0].password); err != nil {
		t.Fatal(err)
	}
	if f.people.hash(t, m) == foreign[0].hash {
		t.Error("the hash was not replaced")
	}
}

// bcrypt sees 72 octets. What was typed behind them was not checked and must
// not become part of the password.
func TestReplacingKeepsOverlongBcrypt(t *testing.T) {
	f := newFixture()
	const hash = "$2y$04$abcdefghijklmnopqrstuuBzzIgyKkz7xMWYSzkIjUSnxEQFQ0WNe" // of 80 times "a"
	m := f.people.add(t, "look@me.com", hash)
	for _, password := range []string{strings.Repeat("a", 80), strings.Repeat("a", 73) + "typo"} {
		if _, err := f.login(t, home, "look@me.com", password); err != nil {
			t.Fatal(err)
		}
	}
	if f.people.hash(t, m) != hash {
		t.Error("the hash was replaced by one of an unchecked password")
	}
}

func TestUnusableHashIsLogged(t *testing.T) {
	f := newFixture()
	var log strings.Builder
	f.logger = slog.New(slog.NewTextHandler(&log, nil))
	f.people.add(t, "look@me.com", "{PLAIN}opensesame")
	f.login(t, home, "look@me.com", "opensesame")
	if !strings.Contains(log.String(), "look@me.com") || strings.Contains(log.String(), "opensesame") {
		t.Errorf("log: %s", log.String())
	}
}

func TestDatabaseErrorIsNoRefusal(t *testing.T) {
	f := newFixture()
	f.people.lookErr = errors.New("database is locked")
	for range 5 {
		took, err := f.login(t, home, "look@me.com", "secret")
		if !errors.Is(err, f.people.lookErr) || errors.Is(err, ErrRefused) {
			t.Errorf("error %v", err)
		}
		if took != 0 {
			t.Errorf("counted as a failure: delayed by %v", took)
		}
	}
}

func TestBusy(t *testing.T) {
	f := newFixture()
	f.people.add(t, "look@me.com", mustHash(t, "secret"))
	if _, err := f.login(t, home, "look@me.com", "secret"); err != nil {
		t.Fatal(err)
	}
	release := occupy(t, f)
	var waiting sync.WaitGroup
	for i := range maxQueue - keptPlaces {
		waiting.Go(func() { f.queue.do(context.Background(), ofClient(elsewhere(i), uint64(i)), func() {}) })
	}
	waitFor(t, func() bool { n, _ := f.inQueue(); return n == maxQueue-keptPlaces })

	for _, name := range []string{"look@me.com", "nobody@me.com"} {
		if took, err := f.login(t, abroad, name, "wrong"); !errors.Is(err, ErrBusy) || took != 0 {
			t.Errorf("%s: %v after %v", name, err, took)
		}
	}
	if _, err := f.login(t, home, "look@me.com", "secret"); err != nil {
		t.Errorf("a remembered login needs no computation: %v", err)
	}
	release()
	waiting.Wait()
	if _, err := f.login(t, abroad, "look@me.com", "wrong"); !errors.Is(err, ErrRefused) {
		t.Errorf("once there is room: %v", err)
	}
}

func TestComputesOnlyAsManyAsCores(t *testing.T) {
	f := newFixture()
	var mu sync.Mutex
	running, most := 0, 0
	f.compute = func(passwordHash, string) bool {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		runtime.Gosched()
		mu.Lock()
		running--
		mu.Unlock()
		return false
	}
	var all sync.WaitGroup
	for i := range networkMost {
		all.Go(func() { f.Login(context.Background(), elsewhere(i), unlike(i), "wrong") })
	}
	all.Wait()
	if most > runtime.GOMAXPROCS(0) {
		t.Errorf("%d at once", most)
	}
}

func TestContextEndsInQueue(t *testing.T) {
	f := newFixture()
	occupy(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() {
		_, err := f.Login(ctx, home, "nobody@me.com", "wrong")
		result <- err
	}()
	waitFor(t, func() bool { waiting, _ := f.inQueue(); return waiting == 1 })
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if f.computed != 0 {
		t.Error("a hash was computed for nobody")
	}
}

func TestContextEndsWhileRefusalIsHeldBack(t *testing.T) {
	f := newFixture()
	f.sleep = sleep // the real one
	ctx, cancel := context.WithCancel(t.Context())
	f.compute = func(passwordHash, string) bool {
		cancel()
		return false
	}
	if _, err := f.Login(ctx, home, "nobody@me.com", "wrong"); !errors.Is(err, ErrRefused) {
		t.Errorf("error %v", err)
	}
	if f.failures(networksOf(home)[0]) != 1 {
		t.Error("the failure was not counted")
	}
}

func TestSleep(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	if err := sleep(ctx, time.Millisecond); err != nil {
		t.Error(err)
	}
	if err := sleep(ctx, -time.Hour); err != nil {
		t.Error(err)
	}
	cancel()
	for _, d := range []time.Duration{0, time.Hour} {
		if err := sleep(ctx, d); !errors.Is(err, context.Canceled) {
			t.Errorf("sleep %v: %v", d, err)
		}
	}
}

func TestLoginsAtOnce(t *testing.T) {
	f := newFixture()
	f.pretend("secret")
	names := []string{"look@me.com", "see@me.com", "hear@me.com"}
	for _, name := range names {
		f.people.add(t, name, foreign[0].hash)
	}
	var all sync.WaitGroup
	for i := range 30 {
		all.Go(func() {
			for j := range 20 {
				name := names[(i+j)%len(names)]
				if _, err := f.Login(t.Context(), home, name, "secret"); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if j%5 == 0 {
					f.Login(t.Context(), abroad, name, "wrong")
				}
			}
		})
	}
	all.Wait()
}
