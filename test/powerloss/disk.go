package powerloss

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// sector is the octets that a drive writes as a whole or not at all.
const sector = 512

// Disk is a record of operations, from which the files after a power cut can be made.
type Disk struct{ ops []op }

// Disk returns the operations recorded so far.
func (r *Recorder) Disk() *Disk {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &Disk{ops: r.ops[:len(r.ops):len(r.ops)]}
}

// Syncs returns the moments right before and after each sync, in order.
func (d *Disk) Syncs() []int {
	var at []int
	for i, o := range d.ops {
		if o.kind == opSync || o.kind == opSyncDir {
			at = append(at, i, i+1)
		}
	}
	return slices.Compact(at)
}

// Cuts chooses n moments to cut at: each of Syncs equally often, as many times as n
// allows, and the rest at random. If n is too small for that, three quarters of it are
// spread evenly over Syncs.
func (d *Disk) Cuts(n int, r *rand.Rand) (cuts []int) {
	moments := d.Syncs()
	inTurn := n - n%len(moments)
	if inTurn == 0 {
		inTurn = n - n/4
	}
	for i := range n {
		cut := r.IntN(len(d.ops) + 1)
		switch {
		case i >= inTurn:
		case inTurn < len(moments):
			cut = moments[i*len(moments)/inTurn]
		default:
			cut = moments[i%len(moments)]
		}
		cuts = append(cuts, cut)
	}
	return cuts
}

// Len returns the number of operations recorded.
func (d *Disk) Len() int { return len(d.ops) }

// LayOut writes into the empty folder dir what could be on the disk after a power cut
// that follows the first cut operations: all synced writes, and the sectors of other
// writes that r chooses.
func (d *Disk) LayOut(dir string, cut int, r *rand.Rand) error {
	ops := d.ops[:cut]
	// The first sync of the file after an operation decides. If it fails, no later sync
	// brings that operation to the disk, since the kernel takes it for written.
	durable := make([]bool, cut)
	succeeds := map[uint64]bool{} // by file: whether its next sync succeeds
	namesSynced := 0
	for i, o := range slices.Backward(ops) {
		switch o.kind {
		case opSync, opSyncFailed:
			succeeds[o.file] = o.kind == opSync
		case opSyncDir:
			namesSynced = max(namesSynced, i)
		default:
			durable[i] = succeeds[o.file]
		}
	}
	// Names change in order, as in a journal of the file system: all changes up to some
	// moment at or after the last sync of the folder are on the disk. The sync of a file
	// includes its own name, as on the journaling file systems of Linux.
	namesUntil := namesSynced
	if cut > namesSynced {
		namesUntil += r.IntN(cut - namesSynced + 1)
	}
	names := map[string]uint64{}
	for i, o := range ops {
		if i > namesUntil && !(o.kind == opCreate && durable[i]) {
			continue
		}
		switch o.kind {
		case opCreate:
			names[o.name] = o.file
		case opRename:
			names[o.newName] = names[o.name]
			delete(names, o.name)
		case opRemove:
			delete(names, o.name)
		}
	}
	contents := map[uint64][]byte{}
	// A drive may reorder writes, so a random share of each file's unsynced ones is there.
	share := map[uint64]float64{}
	for i, o := range ops {
		if _, known := share[o.file]; !known {
			share[o.file] = [...]float64{0, 0.5, 1}[r.IntN(3)]
		}
		switch o.kind {
		case opTruncate:
			if durable[i] || r.Float64() < share[o.file] {
				contents[o.file] = resize(contents[o.file], o.offset)
			}
		case opWrite:
			contents[o.file] = write(contents[o.file], o, func() bool { return durable[i] || r.Float64() < share[o.file] })
		}
	}
	for name, number := range names {
		if err := os.WriteFile(filepath.Join(dir, name), contents[number], 0o600); err != nil {
			return err
		}
	}
	return nil
}

func resize(content []byte, size int64) []byte {
	if int64(len(content)) >= size {
		return content[:size]
	}
	return append(content, make([]byte, size-int64(len(content)))...)
}

// write applies the sectors of a write for which keep returns true.
func write(content []byte, o op, keep func() bool) []byte {
	for done := int64(0); done < int64(len(o.data)); {
		at := o.offset + done
		n := min(sector-at%sector, int64(len(o.data))-done)
		if keep() {
			if end := at + n; end > int64(len(content)) {
				content = resize(content, end)
			}
			copy(content[at:], o.data[done:done+n])
		}
		done += n
	}
	return content
}
