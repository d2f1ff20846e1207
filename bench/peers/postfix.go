package peers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Where Debian has the programs.
const (
	postfixDaemons = "/usr/lib/postfix/sbin"
	dovecotProgram = "/usr/sbin/dovecot"
)

// mailUser owns the Maildirs. It needs no entry in /etc/passwd.
const mailUser = 5000

// StartPostfix starts Postfix and Dovecot: Postfix takes mail for virtual
// mailboxes and hands it to Dovecot's LMTP, which stores it in Maildirs under
// a quota.
func StartPostfix(ctx context.Context, p Plan) (*Server, error) {
	addresses, err := freeAddresses(3)
	if err != nil {
		return nil, err
	}
	s := &Server{Name: "Postfix+Dovecot", SMTP: addresses[0], LMTP: addresses[1], POP3: addresses[2]}
	if err := s.startDovecot(ctx, p); err != nil {
		return nil, err
	}
	if err := s.startPostfix(ctx, p); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Server) startDovecot(ctx context.Context, p Plan) error {
	mail := filepath.Join(p.Dir, "mail")
	for _, dir := range []string{mail, filepath.Join(p.Dir, "dovecot")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.Chown(mail, mailUser, mailUser); err != nil {
		return err
	}
	var users strings.Builder
	for _, m := range p.Mailboxes {
		name, _, _ := strings.Cut(m.Address, "@")
		fmt.Fprintf(&users, "%s:{PLAIN}%s:%d:%d::%s/%s\n", m.Address, m.Password, mailUser, mailUser, mail, name)
	}
	log := filepath.Join(p.Dir, "dovecot", "mail.log")
	config := filepath.Join(p.Dir, "dovecot", "dovecot.conf")
	text := strings.NewReplacer(
		"@DIR@", filepath.Join(p.Dir, "dovecot"), "@LOG@", log,
		"@CERT@", p.CertFile, "@KEY@", p.KeyFile,
		"@LMTP@", port(s.LMTP), "@POP3@", port(s.POP3),
	).Replace(dovecotConfig)
	if err := writeFiles(map[string]string{
		filepath.Join(p.Dir, "dovecot", "users"): users.String(),
		config:                                   text,
	}); err != nil {
		return err
	}
	s.stored = &counter{path: log, text: []byte(": saved mail to ")}
	if err := s.launch(p.Dir, exec.Command(dovecotProgram, "-F", "-c", config)); err != nil {
		return err
	}
	return s.awaitGreeting(ctx, s.LMTP, s.POP3)
}

func (s *Server) startPostfix(ctx context.Context, p Plan) error {
	config := filepath.Join(p.Dir, "postfix")
	queue := filepath.Join(p.Dir, "spool")
	data := filepath.Join(p.Dir, "postfix-data")
	for _, dir := range []string{config, queue, data} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	owner, err := exec.Command("chown", "postfix", data).CombinedOutput()
	if err != nil {
		return fmt.Errorf("postfix: %s", owner)
	}
	var mailboxes strings.Builder
	for _, m := range p.Mailboxes {
		fmt.Fprintf(&mailboxes, "%s ok\n", m.Address)
	}
	replace := strings.NewReplacer(
		"@DIR@", p.Dir, "@HOST@", Hostname, "@DOMAIN@", Domain,
		"@CERT@", p.CertFile, "@KEY@", p.KeyFile, "@SMTP@", s.SMTP, "@LMTP@", s.LMTP,
	)
	if err := writeFiles(map[string]string{
		filepath.Join(config, "main.cf"):   replace.Replace(postfixMain),
		filepath.Join(config, "master.cf"): replace.Replace(postfixMaster),
		filepath.Join(config, "mailboxes"): mailboxes.String(),
	}); err != nil {
		return err
	}
	for _, command := range [][]string{
		{"postmap", "-c", config, "hash:" + filepath.Join(config, "mailboxes")},
		{"postfix", "-c", config, "check"}, // makes the queue's folders
	} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, out)
		}
	}
	master := exec.Command(filepath.Join(postfixDaemons, "master"), "-c", config, "-d")
	// Set only for it: Postfix's other commands would warn.
	master.Env = append(os.Environ(), "MAIL_CONFIG="+config)
	if err := s.launch(p.Dir, master); err != nil {
		return err
	}
	return s.awaitGreeting(ctx, s.SMTP)
}

func writeFiles(files map[string]string) error {
	for path, text := range files {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
