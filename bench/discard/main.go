// Command discard is mailsrv's SMTP side with a store that discards all mail. It shows
// what the protocol costs without the commit. It is for the benchmark only.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"mailsrv/delivery"
	"mailsrv/internal/listen"
	"mailsrv/internal/logs"
	"mailsrv/quota"
	"mailsrv/smtpd"
)

const hostname = "mail.bench.test"

func main() {
	address := flag.String("listen", "127.0.0.1:2525", "`address` to listen on")
	certFile := flag.String("cert", "", "certificate `file`")
	keyFile := flag.String("key", "", "key `file`")
	flag.Parse()
	if err := run(*address, *certFile, *keyFile); err != nil {
		fmt.Fprintln(os.Stderr, "discard:", err)
		os.Exit(1)
	}
}

func run(address, certFile, keyFile string) error {
	logger, err := logs.New(os.Stderr, "text", &slog.LevelVar{})
	if err != nil {
		return err
	}
	certificate := &listen.Certificate{}
	if err := certificate.Load(certFile, keyFile); err != nil {
		return err
	}
	l, err := listen.TCP(context.Background(), address)
	if err != nil {
		return err
	}
	server := smtpd.New(smtpd.Config{
		Hostname: hostname,
		Delivery: smtpd.Through(delivery.New(delivery.Options{
			Store: store{}, Directory: everybody{}, Hostname: hostname, Logger: logger,
			Settings: delivery.Settings{Limit: quota.Limit{Octets: 1 << 30}, MaxMessageSize: 50 << 20},
		})),
		Group:  listen.NewGroup("smtp", "421 4.7.0 too many connections\r\n", listen.Limits{}, logger),
		TLS:    certificate.Config(),
		Logger: logger,
		Settings: smtpd.Settings{
			MaxRecipients: 100, MaxMessageSize: 50 << 20,
			CommandTimeout: 5 * time.Minute, DataIdleTimeout: 5 * time.Minute, MinRate: 1 << 10, HandshakeTimeout: 30 * time.Second,
		},
	})
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, func() {
		closing, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		server.Shutdown(closing)
	})
	return server.Serve(l)
}
