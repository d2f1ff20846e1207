// Command mailsrv hosts mail for domains: see "mailsrv --help".
//
// This package is a parts list. It reads flags and configuration, puts the
// rooms together and prints what they answer; what there is to know about mail
// is below it.
package main

import (
	"context"
	"io"
	"log/syslog"
	"os"
)

func main() {
	hostname, _ := os.Hostname() // unknown is as good as a short name
	env := environment{
		variables: os.Environ(),
		hostname:  hostname,
		syslog: func() (io.Writer, error) {
			return syslog.New(syslog.LOG_INFO|syslog.LOG_MAIL, "mailsrv")
		},
	}
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, env))
}
