package peers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/storage/sqlite"
)

// StartMailsrv starts mailsrv.
func StartMailsrv(ctx context.Context, p Plan) (*Server, error) {
	addresses, err := freeAddresses(2)
	if err != nil {
		return nil, err
	}
	s := &Server{Name: "mailsrv", SMTP: addresses[0], POP3: addresses[1]}
	if err := provision(ctx, filepath.Join(p.Dir, "data"), p); err != nil {
		return nil, fmt.Errorf("make the mailboxes: %w", err)
	}
	config := filepath.Join(p.Dir, "mailsrv.yaml")
	text := fmt.Sprintf(`hostname: %s
data_dir: data
tls: {cert_file: %q, key_file: %q}
smtp: {listen: [%q], max_connections: 0, max_connections_per_client: 0}
pop3: {listen: [%q], listen_tls: [], max_connections: 0, max_connections_per_client: 0}
`, Hostname, p.CertFile, p.KeyFile, s.SMTP, s.POP3)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	program := filepath.Join(p.Programs, "mailsrv")
	if err := s.launch(p.Dir, exec.Command(program, "--config", config, "serve")); err != nil {
		return nil, err
	}
	return s, s.awaitGreeting(ctx, s.SMTP, s.POP3)
}

// provision makes the database with all mailboxes. The command line would need a process
// for each.
func provision(ctx context.Context, dir string, p Plan) (err error) {
	store, err := sqlite.Open(ctx, dir, sqlite.Options{})
	if err != nil {
		return err
	}
	defer func() {
		if closed := store.Close(); err == nil {
			err = closed
		}
	}()
	if err := store.AddDomain(ctx, directory.Domain{Name: Domain}); err != nil {
		return err
	}
	const workers = 32 // concurrent, so that they share commits
	var group sync.WaitGroup
	failures := make([]error, workers)
	for w := range workers {
		group.Go(func() {
			for i := w; i < len(p.Mailboxes) && failures[w] == nil; i += workers {
				address, err := mail.ParseAddress(p.Mailboxes[i].Address)
				if err == nil {
					_, err = store.AddMailbox(ctx, directory.Mailbox{
						Address: address, Switches: directory.AllOn, Hash: p.Hashes[i],
					})
				}
				failures[w] = err
			}
		})
	}
	group.Wait()
	for _, err := range failures {
		if err != nil {
			return err
		}
	}
	return nil
}

// StartDiscard starts bench/discard: mailsrv's SMTP side with a store that discards all
// mail.
func StartDiscard(ctx context.Context, p Plan) (*Server, error) {
	addresses, err := freeAddresses(1)
	if err != nil {
		return nil, err
	}
	s := &Server{Name: "discarding store", SMTP: addresses[0]}
	command := exec.Command(filepath.Join(p.Programs, "discard"),
		"-listen", s.SMTP, "-cert", p.CertFile, "-key", p.KeyFile)
	if err := s.launch(p.Dir, command); err != nil {
		return nil, err
	}
	return s, s.awaitGreeting(ctx, s.SMTP)
}

// StartSink starts Postfix's smtp-sink.
func StartSink(ctx context.Context, p Plan) (*Server, error) {
	addresses, err := freeAddresses(1)
	if err != nil {
		return nil, err
	}
	s := &Server{Name: "smtp-sink", SMTP: addresses[0]}
	// Started by root it needs a user to change to.
	command := exec.Command("smtp-sink", "-u", "postfix", s.SMTP, "1024")
	if err := s.launch(p.Dir, command); err != nil {
		return nil, err
	}
	return s, s.awaitGreeting(ctx, s.SMTP)
}
