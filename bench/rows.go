package main

import (
	"context"

	"mailsrv/bench/load"
)

// row is a kind of work.
type row struct {
	name  string // as on the command line
	stage string // rows of the same stage share their servers
	title string
	run   func(context.Context, *bench) (*outcome, error)
}

var rows = []row{
	{"smtp-16", "receive", "SMTP into maildrops, 4 KiB, 16 connections", receiveRow(small,
		load.Senders{Connections: 16},
		[]string{mailsrv, postfix, discard, sink, appendOne, appendSixteen},
		func(o *outcome) {
			o.claim(times("Postfix+Dovecot's delivered rate", o.of(mailsrv, rate)/o.of(postfix, rate), 25, 33))
			o.claim(cost(o.of(mailsrv, cpu), 0.15, 0.11, sink, o.of(sink, cpu), 0.031))
			o.claim(times("smtp-sink's rate", o.of(mailsrv, rate)/o.of(sink, rate), 1./4, 1./3))
		})},
	{"smtp-1", "receive", "the same, 1 connection", receiveRow(small,
		load.Senders{Connections: 1},
		[]string{mailsrv, discard, postfix, sink, appendOne, appendLaidOut},
		func(o *outcome) {
			o.claim(times("Postfix+Dovecot's delivered rate", o.of(mailsrv, rate)/o.of(postfix, rate), 4, 6))
			above := o.of(mailsrv, p50) - o.of(discard, p50)
			o.claim(atMost("latency above the discarding store's, in appends with fdatasync", "%.2f", above/o.of(appendOne, p50), 1.5, 1.1))
		})},
	{"smtp-one-each", "receive", "the same, 16 connections, one message a connection", receiveRow(small,
		load.Senders{Connections: 16, PerConnection: 1},
		[]string{mailsrv, postfix, discard, sink},
		timesPostfix(15, 19))},
	{"smtp-mix", "receive", "the mix, 16 connections", receiveRow(mix,
		load.Senders{Connections: 16},
		[]string{mailsrv, postfix, discard, sink},
		timesPostfix(8, 11))},
	{"smtp-10-rcpt", "receive", "10 recipients a message, 4 KiB, 16 connections", receiveRow(small,
		load.Senders{Connections: 16, Recipients: 10},
		[]string{mailsrv, postfix, discard},
		timesPostfix(40, 60))},
	{"smtp-tls", "receive", "STARTTLS, one message a connection, 4 KiB, 16 connections", receiveRow(small,
		load.Senders{Connections: 16, PerConnection: 1, TLS: clientTLS},
		[]string{mailsrv, postfix, discard},
		timesPostfix(5, 7))},

	{"pop3-login", "fetch", "POP3 login, STAT, QUIT, 16 sessions, each mailbox logged in before", login},
	{"pop3-fetch", "fetch", "POP3 fetch, six of 4 KiB a session, 16 sessions", fetch(small, 2.5, 4)},
	{"pop3-fetch-mix", "fetch", "POP3 fetch, six of the mix a session, 16 sessions", fetch(mix, 1.8, 2.5)},
	{"pop3-pipelined", "fetch", "POP3 fetch, 4 KiB, one session, 32 RETR ahead", pipelined},
	{"pop3-delete", "fetch", "POP3 fetch and delete, six of 4 KiB a session, 16 sessions", fetchAndDelete},

	{"large-list", "large", "maildrop of 20,000: the first commands of a session", listLarge},
	{"large-deliver", "large", "maildrop of 20,000: delivery, 4 KiB, 16 connections", deliverLarge},

	{"idle", "idle", "1,000 idle POP3 sessions", idleSessions},
	{"flood", "flood", "50 senders of 50 MB at once", flood},
	{"million", "million", "1,000,000 messages over 10,000 maildrops, beside an empty store over the same 10,000", million},
}

// timesPostfix claims a multiple of the rate at which Postfix and Dovecot deliver.
func timesPostfix(owed, proud float64) func(*outcome) {
	return func(o *outcome) {
		o.claim(times("Postfix+Dovecot's delivered rate", o.of(mailsrv, rate)/o.of(postfix, rate), owed, proud))
	}
}
