// Package backup copies a database into one file while a server is running, and restores
// such a file to where there is no database yet.
package backup
