package proof

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailsrv/internal/auth"
	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/storage/sqlite"
	"mailsrv/test/built"
)

// dearLocal has a hash that is dear to compute, and no password.
const dearLocal = "dear"

// dearHash is of as many rounds as some systems make.
var dearHash = "$6$rounds=656000$saltsaltsaltsalt$" + strings.Repeat("a", 86)

// firstLimit is how long a right first login may take beside guessers, on a machine that
// does much else; the race detector makes hashes dear.
func firstLimit() time.Duration {
	if built.Race {
		return patience
	}
	return 20 * time.Second
}

// guessing is how many guess, and who wants to log in meanwhile.
type guessing struct {
	*badPeers
	guessers int           // at once
	ofOne    int           // of them from one address
	before   time.Duration // that one guesses before the others come
	firsts   int           // who log in for the first time
}

// TestGuessers has one address guess at a dear hash on many connections. When all its
// guesses fall due at once, half a minute later, many more guess from fresh addresses; and
// then owners log in for the first time, each from an address of its own: none of them may
// be refused. The short form has few of each, and waits for nothing.
func TestGuessers(t *testing.T) {
	t.Parallel()
	s := newServer(t, filepath.Join(t.TempDir(), "data"))
	s.text = "data_dir: " + s.data + "\n" + badConfig
	s.configure()
	g := guessing{&badPeers{t: t, s: s, r: dice(t)}, 24, 8, time.Second, 6}
	if scale(t, "PROOF_PEERS", 0) > 0 {
		g = guessing{g.badPeers, 168, 48, 30 * time.Second, 40}
	}
	s.populate(noLimit)
	g.populate()
	s.start()
	g.guess()
	s.stop()
}

func firstLocal(i int) string { return fmt.Sprintf("first%d", i) }

// populate adds whom the guessers guess at, and who logs in beside them.
func (g guessing) populate() {
	s := g.s
	s.t.Helper()
	ctx := context.Background()
	store, err := sqlite.Open(ctx, s.data, sqlite.Options{})
	s.must(err)
	add := func(local, hash string) {
		_, err := store.AddMailbox(ctx, directory.Mailbox{
			Address: mail.Address{Local: local, Domain: domain}, Switches: directory.AllOn, Hash: hash,
		})
		s.must(err)
	}
	add(dearLocal, dearHash)
	for i := range g.firsts { // each its own: one that was verified is remembered
		hash, err := auth.Hash(password)
		s.must(err)
		add(firstLocal(i), hash)
	}
	s.must(store.Close())
}

// guessOnce connects and tries a password that nobody has. It hangs up when ctx ends.
func (p *badPeers) guessOnce(ctx context.Context, from, local string, n int) {
	c := p.dial(from, p.s.pop3)
	if c == nil {
		return
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	in := bufio.NewReader(c)
	in.ReadString('\n')
	word := fmt.Sprintf("%s-%d-", from, n)
	word += strings.Repeat("x", []int{128, 1024}[n%2]-len(word))
	fmt.Fprintf(c, "USER %s\r\nPASS %s\r\n", address(local), word)
	in.ReadString('\n')
	if answer, err := in.ReadString('\n'); err == nil && !strings.HasPrefix(answer, "-ERR") {
		p.t.Errorf("a guess was answered %s", answer)
	}
	p.count("guess")
}

// guess lets all guess, and owners log in.
func (g guessing) guess() {
	p := g.badPeers
	var guessers sync.WaitGroup
	ctx, over := context.WithCancel(context.Background())
	defer over()
	var fresh atomic.Uint32
	for i := range g.ofOne {
		guessers.Go(func() {
			for n := i; ctx.Err() == nil; n += g.ofOne {
				p.guessOnce(ctx, "127.0.8.1", dearLocal, n)
			}
		})
	}
	time.Sleep(g.before)
	for i := range g.guessers - g.ofOne {
		guessers.Go(func() {
			for n := i; ctx.Err() == nil; n += g.guessers {
				k := fresh.Add(1)
				p.guessOnce(ctx, fmt.Sprintf("127.9.%d.%d", k/250%250, k%250+1), fmt.Sprintf("nobody%d", n), n)
			}
		})
	}
	time.Sleep(time.Second)
	var owners sync.WaitGroup
	var worst atomic.Int64
	for i := range g.firsts {
		owners.Go(func() {
			c := p.dial(fmt.Sprintf("127.0.9.%d", i+1), p.s.pop3)
			if c == nil {
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			begun := time.Now()
			io.WriteString(c, login(firstLocal(i))+"QUIT\r\n")
			answers, err := io.ReadAll(c)
			if lines := strings.Split(string(answers), "\r\n"); err != nil || len(lines) < 4 || !strings.HasPrefix(lines[2], "+OK maildrop") {
				p.t.Errorf("a right first login beside guessers: %q, %v", answers, err)
			}
			took := time.Since(begun)
			if took > firstLimit() {
				p.t.Errorf("a right first login beside guessers took %v", took)
			}
			for old := worst.Load(); int64(took) > old && !worst.CompareAndSwap(old, int64(took)); old = worst.Load() {
			}
		})
	}
	owners.Wait()
	over()
	p.t.Logf("the slowest of %d right first logins beside %d guessers took %v", g.firsts, g.guessers, time.Duration(worst.Load()).Round(time.Millisecond))
	guessers.Wait()
}

// capabilities asks what a server can do, again and again, before a login, and must
// get each answer.
func (p *badPeers) capabilities() {
	const n = 20_000
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			c := p.dial(fmt.Sprintf("127.0.7.%d", 10+i), p.s.pop3)
			if c == nil {
				return
			}
			defer c.Close()
			go io.WriteString(c, strings.Repeat("CAPA\r\n", n)+"QUIT\r\n")
			answers := 0
			for in := bufio.NewScanner(net.Conn(c)); in.Scan(); {
				if in.Text() == "." {
					answers++
				}
			}
			if answers != n {
				p.t.Errorf("%d of %d CAPA were answered", answers, n)
			}
			p.count("asked what it can do")
		})
	}
	all.Wait()
}
