// Package repair recounts a store, mends what disagrees, and copies what can still be read
// of a database with damaged pages into a new one.
package repair
