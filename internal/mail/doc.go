// Package mail is the vocabulary of the house: addresses, envelopes, trace
// fields and message ids. It does no I/O. Whatever leaves it in writing (an
// address, a field) is valid on the wire, whatever came in.
package mail
