// Package backup writes a database into one file while a server is at work, and puts
// such a file where there is no database yet.
package backup
