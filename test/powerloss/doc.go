// Package powerloss shows what a power cut can leave of a store. A FUSE file system
// ([Recorder]) records all operations on the disk. A [Disk] then makes the files as they
// could be after a cut at any moment: all that was synced, and a random part of the
// rest, sector by sector.
//
//	store ──► FUSE ──► recorder:  write write sync write │ write sync …
//	                                 └────────┬───────┘ cut
//	                                          ▼
//	              files with all that was synced, and a random part of the rest
//	                                          │
//	                                          ▼
//	        a new store on them: is everything there that was acknowledged
//	        before the cut, and does check agree?
//
// It proves that nothing acknowledged depends on an unsynced write. It cannot
// prove that a drive which lies about syncing loses nothing; see
// docs/adr/0010-power-loss.md.
package powerloss
