// Command bench measures mailsrv beside its peers: the same work, in the same
// run, taken in turn, on the same disk. bench/run prepares that disk and starts
// it; "make bench" starts that.
//
// A row is a kind of work. In each round its contenders do the work in turn, for some
// seconds each. The result is the median of the rounds. Ratios of medians are compared
// with what the project has promised. Before each turn the disk is synced and all servers
// are idle. After each turn the accepted mail is fetched and checked.
package main
