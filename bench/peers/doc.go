// Package peers starts, watches and stops the servers that are measured side
// by side: mailsrv, mailsrv above a store that discards, Postfix with Dovecot,
// and Postfix's smtp-sink. Each listens on ports of 127.0.0.1 that were free,
// and keeps all it has in a folder of its own.
package peers
