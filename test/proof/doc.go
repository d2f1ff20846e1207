// Package proof has tests that try to make a built server lose mail, and show that it
// does not. Each runs the real binary as a process, on a real data directory, and judges
// it from outside: by its replies over SMTP and POP3, and by what its maildrops hold
// afterwards.
//
//	senders ──SMTP──►┌──────────────┐──POP3──► fetchers
//	    │            │ mailsrv serve│             │
//	    │      ┌────►└──────┬───────┘             │
//	    │      │            │ data directory      │
//	    │    kill, fill     ▼                     │
//	    │    the disk,   commands (check, quota)  │
//	    │    break off                            │
//	    └── every 250 ──► ledger ◄── every +OK ───┘
//	                        │
//	                        ▼
//	      audit: is each message that was acknowledged in each of its
//	      maildrops, once and whole, and none of what was deleted?
//
// "go test" runs short forms. PROOF_KILLS, PROOF_PREFILL, PROOF_DISKS, PROOF_RACES,
// PROOF_PEERS and PROOF_SOAK (seconds) scale them, and PROOF_SEED repeats the choices of a
// run. "make crash", "make faults" and "make soak" set them. docs/reliability.md says what
// each proves, and what it found.
package proof
