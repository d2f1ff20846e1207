package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"mailsrv/bench/load"
	"mailsrv/bench/peers"
)

// bench is what the rows share.
type bench struct {
	dir      string
	below    string // a folder on the disk that has the file of the measured disk
	programs string
	profile  string
	rounds   int
	quick    bool
	turn     time.Duration

	mailboxes []load.Mailbox // as many as any row needs
	hashes    []string
	certFile  string
	keyFile   string

	stage    string
	row      string
	turnName string // of the row and the round; empty between turns
	stations map[string]*station
}

// station is a server with the book of what was sent to it.
type station struct {
	*peers.Server
	book *load.Book
	all  []load.Mailbox // the book has the first ones
	dir  string

	large *load.Book // of the large maildrop; nil until that is filled
}

// usual is how many mailboxes a row has unless it says otherwise. spare more are for rows
// that fill one maildrop.
const (
	usual = 1000
	spare = 8
)

// starters are the functions that start the servers, by name.
var starters = map[string]func(context.Context, peers.Plan) (*peers.Server, error){
	mailsrv: peers.StartMailsrv,
	discard: peers.StartDiscard,
	postfix: peers.StartPostfix,
	sink:    peers.StartSink,
}

// The contenders.
const (
	mailsrv = "mailsrv"
	discard = "discarding store"
	postfix = "Postfix+Dovecot"
	sink    = "smtp-sink"
)

// station returns a server of the stage. It starts the server at the first use.
func (b *bench) station(ctx context.Context, name string) (*station, error) {
	return b.stationOf(ctx, name, name, usual)
}

// stationOf is station for a server with another key among the stations, or another number
// of mailboxes.
func (b *bench) stationOf(ctx context.Context, key, name string, mailboxes int) (*station, error) {
	if s := b.stations[key]; s != nil {
		return s, nil
	}
	dir, err := os.MkdirTemp(b.dir, "server")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // Postfix has several users
		return nil, err
	}
	all := b.mailboxes[:mailboxes+spare]
	server, err := starters[name](ctx, peers.Plan{
		Dir: dir, Programs: b.programs, Mailboxes: all, Hashes: b.hashes[:len(all)],
		CertFile: b.certFile, KeyFile: b.keyFile,
	})
	if err != nil {
		return nil, err
	}
	s := &station{Server: server, book: load.NewBook(all[:mailboxes]), all: all, dir: dir}
	if b.stations == nil {
		b.stations = map[string]*station{}
	}
	b.stations[key] = s
	return s, nil
}

// close stops all servers and removes their data.
func (b *bench) close() {
	for key, s := range b.stations {
		s.Stop()
		if err := os.RemoveAll(s.dir); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		delete(b.stations, key)
	}
}

// spareBook returns a book of one mailbox that the station's book does not have.
func (s *station) spareBook(i int) *load.Book {
	at := s.book.Mailboxes() + i
	return load.NewBook(s.all[at : at+1])
}

// warm logs every mailbox in once and fetches this number of messages, so that passwords
// are verified, processes run, and the messages are in the page cache.
func (s *station) warm(ctx context.Context, messages int) error {
	r := load.Readers{Address: s.POP3, Sessions: 16, Book: s.book, Rounds: 1, Fetch: messages}.Run(ctx)
	if err := r.Err(); err != nil {
		return fmt.Errorf("log every mailbox of %s in and fetch %d messages: %w", s.Name, messages, err)
	}
	return nil
}

// collect fetches, checks and removes all messages that were accepted.
func (s *station) collect(ctx context.Context, book *load.Book) error {
	return s.collectBy(ctx, book, min(8, book.Mailboxes()))
}

// collectBy is collect with this number of concurrent sessions. Each has a whole message
// in memory.
func (s *station) collectBy(ctx context.Context, book *load.Book, sessions int) error {
	if s.POP3 == "" {
		book.Forget()
		return nil
	}
	r := load.Readers{
		Address: s.POP3, Sessions: sessions, Book: book, Rounds: 1,
		Fetch: load.All, Delete: true, Pipeline: 32,
	}.Run(ctx)
	if r.FirstError != nil {
		return fmt.Errorf("fetch what was sent: %w", r.FirstError)
	}
	if missing, surplus := book.Unsettled(); missing+surplus > 0 {
		return fmt.Errorf("of what was accepted %d deliveries are missing, %d are too many", missing, surplus)
	}
	return nil
}

// watch begins to measure a turn of a server. The function it returns ends that, and
// returns the processor time of the server and of the generator.
func (b *bench) watch(s *station) func() (server, own time.Duration) {
	stopProfile := b.record(s)
	server, generator := s.CPU(), ownCPU()
	return func() (time.Duration, time.Duration) {
		server, generator = s.CPU()-server, ownCPU()-generator
		stopProfile()
		return server, generator
	}
}

// record profiles mailsrv with perf until stop, if that was asked for.
func (b *bench) record(s *station) (stop func()) {
	if b.profile == "" || b.turnName == "" || s.Name != mailsrv {
		return func() {}
	}
	perf := exec.Command("perf", "record", "-q", "-F", "499", "-g", "-p", fmt.Sprint(s.Leader()),
		"-o", filepath.Join(b.profile, b.turnName+".perf"))
	perf.Stderr = os.Stderr
	perf.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := perf.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "bench: no profile:", err)
		return func() {}
	}
	time.Sleep(200 * time.Millisecond) // perf does not say when it is ready
	return func() {
		perf.Process.Signal(syscall.SIGINT)
		perf.Wait()
	}
}

// ownCPU returns the processor time of this program.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// figures makes a sample of a run's result and of the function that watch returned before
// the run.
func figures(r load.Result, measured func() (server, own time.Duration)) (sample, error) {
	server, generator := measured()
	if err := r.Err(); err != nil {
		return nil, err
	}
	each := func(d time.Duration) float64 { return milliseconds(d) / float64(r.Operations) }
	return sample{
		rate:   r.Rate(),
		octets: float64(r.Octets) / 1e6 / r.Elapsed.Seconds(),
		cpu:    each(server), own: each(generator),
		p50: milliseconds(r.Latency(0.50)),
		p95: milliseconds(r.Latency(0.95)),
		p99: milliseconds(r.Latency(0.99)),
	}, nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
