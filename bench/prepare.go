package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"mailsrv/bench/load"
	"mailsrv/bench/peers"
	"mailsrv/internal/auth"
	"mailsrv/internal/listen"
)

const (
	mostMailboxes = 10_000 // the most that a row needs
	passwords     = 1_000  // different ones
)

// prepare makes what the servers share: names, passwords, a certificate.
func (b *bench) prepare(hashFile string) error {
	hashes, err := passwordHashes(hashFile)
	if err != nil {
		return err
	}
	for i := range mostMailboxes + spare {
		b.mailboxes = append(b.mailboxes, load.Mailbox{
			Address: fmt.Sprintf("user%05d@%s", i, peers.Domain), Password: password(i % passwords),
		})
		b.hashes = append(b.hashes, hashes[i%passwords])
	}
	b.certFile, b.keyFile, _, err = listen.SelfSigned(b.dir, peers.Hostname) // ECDSA P-256
	return err
}

func password(i int) string { return fmt.Sprintf("secret-%05d", i) }

// passwordHashes returns mailsrv's hash of each password. Hashes are slow to make, so they
// are kept in a file for the next run, as long as new hashes have the same parameters.
func passwordHashes(file string) ([]string, error) {
	fresh, err := auth.Hash(password(0))
	if err != nil {
		return nil, err
	}
	parameters := fresh[:strings.LastIndexByte(fresh, '$')] // with the salt
	parameters = parameters[:strings.LastIndexByte(parameters, '$')+1]
	if kept := readLines(file); len(kept) == passwords && strings.HasPrefix(kept[0], parameters) {
		return kept, nil
	}
	fmt.Fprintf(os.Stderr, "bench: hashing %d passwords for this run and later ones\n", passwords)
	hashes := make([]string, passwords)
	var next atomic.Int64
	var group sync.WaitGroup
	failures := make([]error, runtime.NumCPU())
	for w := range failures {
		group.Go(func() {
			for i := next.Add(1) - 1; i < passwords && failures[w] == nil; i = next.Add(1) - 1 {
				hashes[i], failures[w] = auth.Hash(password(int(i)))
			}
		})
	}
	group.Wait()
	for _, err := range failures {
		if err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, err
	}
	return hashes, os.WriteFile(file, []byte(strings.Join(hashes, "\n")+"\n"), 0o600)
}

// readLines returns the lines of a file, none if it cannot be read.
func readLines(path string) (lines []string) {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	for in := bufio.NewScanner(file); in.Scan(); {
		lines = append(lines, in.Text())
	}
	return lines
}
