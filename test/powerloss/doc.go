// Package powerloss shows what a power cut can leave of a store. A file system
// of its own (FUSE) records everything that is asked of the disk; a Disk then
// lays out the files as they could stand after a cut at any moment: what was
// synced is there, of the rest a random part, torn at the sectors of a drive.
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
