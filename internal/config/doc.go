// Package config is what an operator decides about a server: one struct, read
// once from a file and the environment and validated before anything starts.
//
// A key has the same name everywhere: "smtp.listen" in an error, listen under
// smtp in the file, MAILSRV_SMTP_LISTEN in the environment. The environment
// wins over the file, the file over the defaults. What is wrong is one line
// that names the source, the key, the value and what to write instead.
package config
