// Package config is the configuration of a server: one struct, [Config], that [Load]
// reads from a file and the environment, and validates before anything starts.
//
// A key has the same name everywhere: "smtp.listen" in an error, listen under
// smtp in the file, MAILSRV_SMTP_LISTEN in the environment. The environment
// wins over the file, the file over the defaults. An error is one line that names the
// source, the key, the value and what to write instead.
package config
