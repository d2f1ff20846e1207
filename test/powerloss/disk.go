package powerloss

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// sector is what a drive writes as a whole or not at all, in octets.
const sector = 512

// Disk is the record as it can be cut.
type Disk struct{ ops []op }

// Disk returns what has been recorded so far.
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

// Cuts chooses n moments to cut at: those of Syncs in turn, each as often as n allows,
// and the rest of n anywhere. Where n is too small, three quarters of it are spread
// evenly over Syncs.
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

// Len is the number of operations recorded.
func (d *Disk) Len() int { return len(d.ops) }

// LayOut writes into the empty folder dir what could be found after a cut
// following the first cut operations: synced writes, and a part of the others
// that r chooses, sector by sector.
func (d *Disk) LayOut(dir string, cut int, r *rand.Rand) error {
	ops := d.ops[:cut]
	// The first sync of a file that follows an operation decides: where it fails, no
	// later one brings that operation to the disk, since the kernel takes it for done.
	durable := make([]bool, cut)
	succeeds := map[uint64]bool{} // the next sync of a file
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
	// Names change in order, as in a journal of the file system: all up to some
	// moment after the last sync of the folder. The sync of a file brings its
	// own name along, as it does on the journaling file systems of Linux.
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
	// A drive that is cut may have reordered: one file's share of what was not
	// synced is anything from none to all.
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

// write applies those sectors of a write that keep says have reached the disk.
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
