// Command mailsrv hosts mail for domains: see "mailsrv --help".
//
// This package is a parts list. It reads flags and configuration, puts the
// rooms together and prints what they answer; what there is to know about mail
// is below it.
package main

import (
	"context"
	"io"
	"os"
)

func main() {
	hostname, _ := os.Hostname() // unknown is as good as a short name
	env := environment{variables: os.Environ(), hostname: hostname, uid: os.Getuid()}
	if logSocket != "" {
		env.syslog = func() (io.WriteCloser, error) { return dialSyslog(logSocket) }
	}
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, env))
}
