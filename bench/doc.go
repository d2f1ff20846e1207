// Command bench measures mailsrv beside its peers: the same work, in the same
// run, taken in turn, on the same disk. bench/run prepares that disk and starts
// it; "make bench" starts that.
//
// A row is a kind of work. Each of its contenders does it for some seconds, one
// after the other, for a number of rounds; the median of the rounds counts, and ratios
// of medians are compared with what the project owes itself. Before each turn
// the disk is synced and every server has come to rest. What was accepted is
// fetched and checked after each turn.
package main
