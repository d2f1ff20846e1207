// Command mailsrv hosts mail for domains: see "mailsrv --help".
//
// This package reads flags and configuration, assembles the other packages and prints their
// results. All that concerns mail itself is in those packages.
package main

import (
	"context"
	"io"
	"os"
)

func main() {
	hostname, _ := os.Hostname() // an empty name is treated as a short one is
	env := environment{variables: os.Environ(), hostname: hostname, uid: os.Getuid()}
	if logSocket != "" {
		env.syslog = func() (io.WriteCloser, error) { return dialSyslog(logSocket) }
	}
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, env))
}
