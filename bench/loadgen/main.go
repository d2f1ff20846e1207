// Command loadgen sends mail to a server, or fetches it, with the same generator as bench.
//
// The mailboxes are user00000@DOMAIN and so on, with one password for all. They must
// exist. For -check, which fetches and checks what was sent, they must be empty.
//
//	loadgen -smtp 127.0.0.1:2525 -connections 16 -size 4096 -for 10s
//	loadgen -smtp 127.0.0.1:2525 -pop3 127.0.0.1:1110 -mix -check
//	loadgen -pop3 127.0.0.1:1110 -sessions 16 -for 10s
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"mailsrv/bench/load"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var (
		smtp          = flag.String("smtp", "", "`address` to send to")
		pop3          = flag.String("pop3", "", "`address` to log in at")
		domain        = flag.String("domain", "me.com", "`domain` of the mailboxes")
		mailboxes     = flag.Int("mailboxes", 1000, "how many there are")
		password      = flag.String("password", "secret", "of every mailbox")
		duration      = flag.Duration("for", 5*time.Second, "how long to send, or to log in")
		connections   = flag.Int("connections", 16, "SMTP connections at once")
		perConnection = flag.Int("per-connection", 0, "messages a connection; 0: as many as there is time for")
		recipients    = flag.Int("recipients", 1, "recipients of a message")
		size          = flag.Int("size", 4096, "octets of a message, 512 at least")
		mix           = flag.Bool("mix", false, "sizes as people send them, in place of -size")
		startTLS      = flag.Bool("starttls", false, "send through STARTTLS, every handshake a full one")
		sessions      = flag.Int("sessions", 16, "POP3 sessions at once")
		check         = flag.Bool("check", false, "after sending, fetch everything, check it and remove it")
	)
	flag.Parse()
	if *smtp == "" && *pop3 == "" || *check && (*smtp == "" || *pop3 == "") || *size < 512 {
		flag.Usage()
		return errors.New("give -smtp or -pop3, and both with -check")
	}
	var all []load.Mailbox
	for i := range *mailboxes {
		all = append(all, load.Mailbox{Address: fmt.Sprintf("user%05d@%s", i, *domain), Password: *password})
	}
	book := load.NewBook(all)

	if *smtp != "" {
		shares := []load.Share{{Size: *size, Weight: 1}}
		if *mix {
			shares = load.Realistic
		}
		senders := load.Senders{
			Address: *smtp, Connections: *connections, PerConnection: *perConnection,
			Recipients: *recipients, Mailbox: load.Everywhere, Contents: load.NewContents(shares...),
			Book: book, For: *duration,
		}
		if *startTLS {
			senders.TLS = &tls.Config{InsecureSkipVerify: true} // the server's certificate does not matter here
		}
		if err := show("sent", senders.Run(ctx)); err != nil {
			return err
		}
	}
	readers := load.Readers{Address: *pop3, Sessions: *sessions, Book: book, For: *duration}
	switch {
	case *check:
		readers.For, readers.Rounds = 0, 1
		readers.Fetch, readers.Delete, readers.Pipeline = load.All, true, 32
		if err := show("fetched", readers.Run(ctx)); err != nil {
			return err
		}
		if missing, surplus := book.Unsettled(); missing+surplus > 0 {
			return fmt.Errorf("%d deliveries are missing, %d are too many", missing, surplus)
		}
	case *smtp == "":
		return show("sessions", readers.Run(ctx))
	}
	return nil
}

func show(what string, r load.Result) error {
	fmt.Printf("%s %d in %.2fs: %.0f/s, %.1f MB/s, p50 %v p95 %v p99 %v, %d errors\n",
		what, r.Operations, r.Elapsed.Seconds(), r.Rate(), float64(r.Octets)/1e6/r.Elapsed.Seconds(),
		r.Latency(.50), r.Latency(.95), r.Latency(.99), r.Errors)
	return r.Err()
}
