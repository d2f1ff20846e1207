// Package refusal is every reason for which SMTP says no: its name, its code and
// its text, in one table. Whoever finds out returns a *Refusal; a session writes its
// Reply; the log has its Name as code=, for programs to count.
//
// Every other error is temporary, and its cause is for the log alone.
package refusal
