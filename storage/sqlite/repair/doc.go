// Package repair recounts a store, mends what disagrees, and lays a database with damaged
// pages out anew from what can still be read.
package repair
