// Package peers starts, watches and stops the servers that are measured side by side:
// mailsrv, mailsrv with a store that discards all mail, Postfix with Dovecot, and Postfix's
// smtp-sink. Each listens on free ports of 127.0.0.1 and keeps its data in its own folder.
package peers
