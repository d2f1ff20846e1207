// Package storagetest is the contract suite that every storage backend passes; see
// [Run]. After each case it calls Check: the counters must equal the rows.
package storagetest

import (
	"testing"

	"mailsrv/internal/buffers"
	"mailsrv/internal/directory"
	"mailsrv/quota"
	"mailsrv/storage"
)

// Backend is a store with everything that the suite tests.
type Backend interface {
	storage.Deliverer
	storage.Maildrops
	storage.Claims
	storage.Undeleter
	storage.Collector
	storage.Clock
	storage.Checker
	directory.Directory
	Close() error
}

// Limits are what a backend is opened with.
type Limits struct {
	MinFree   int64         // octets; 0: none
	MaxStaged int64         // octets; 0: no limit
	Buffers   *buffers.Pool // nil: the backend's own
	Limit     quota.Limit   // of what mailboxes keep aside that inherit theirs
	MaxAside  int64         // octets kept aside, of all mailboxes; 0: as much as the tests need
}

// Hooks are what the suite needs and cannot do through the contract.
type Hooks struct {
	// Open opens the backend kept in dir, which is empty the first time.
	Open func(t *testing.T, dir string, l Limits) Backend
	// Damage damages all content that is stored.
	Damage func(t *testing.T, b Backend)
	// ReadOnly makes the backend fail until it is read-only (storage.ErrReadOnly).
	ReadOnly func(t *testing.T, b Backend)
}

// Run runs the whole suite, each case on a new backend.
func Run(t *testing.T, hooks Hooks) {
	cases := map[string]func(*testing.T, *fixture){
		"Deliver":          testDeliver,
		"DeliverLong":      testDeliverLong,
		"DeliverMany":      testDeliverMany,
		"AllOrNone":        testAllOrNone,
		"Limits":           testLimits,
		"LimitsInherit":    testLimitsInherit,
		"LimitRace":        testLimitRace,
		"MailboxStates":    testMailboxStates,
		"CancelledContext": testCancelledContext,
		"Discard":          testDiscard,
		"Snapshot":         testSnapshot,
		"Expunge":          testExpunge,
		"ExpungeShared":    testExpungeShared,
		"GoneMessages":     testGoneMessages,
		"Reopen":           testReopen,
		"RemoveMailbox":    testRemoveMailbox,
		"Expire":           testExpire,
		"ExpireMany":       testExpireMany,
		"Expiries":         testExpiries,
		"Clock":            testClock,
		"OutgrownAliases":  testOutgrownAliases,
		"Undelete":         testUndelete,
		"UndeletedIsNew":   testUndeletedIsNew,
		"RemoveDeleted":    testRemoveWithDeleted,
		"AsideBound":       testAsideBound,
		"AsideTotal":       testAsideTotal,
		"AsideOff":         testAsideOff,
		"Domains":          testDomains,
		"Mailboxes":        testMailboxes,
		"Aliases":          testAliases,
		"Postmaster":       testPostmaster,
		"Receipt":          testReceipt,
		"BroughtAlong":     testBroughtAlong,
		"ModSeq":           testModSeq,
		"FolderEnded":      testFolderEnded,
		"NoFolder":         testNoFolder,
		"Switches":         testSwitches,
		"Pieces":           testPieces,
		"Offsets":          testOffsets,
		"ScatteredChange":  testScatteredChange,
		"Claims":           testClaims,
		"Fence":            testFence,
		"NoSpace":          testNoSpace,
		"StagedFull":       testStagedFull,
		"NoMemory":         testNoMemory,
		"Damaged":          testDamaged,
		"ReadOnly":         testReadOnly,
		"Random":           testRandom,
	}
	for name, run := range cases {
		t.Run(name, func(t *testing.T) {
			f := &fixture{t: t, dir: t.TempDir(), hooks: hooks}
			f.Backend = hooks.Open(t, f.dir, Limits{})
			t.Cleanup(func() { f.Close() })
			run(t, f)
			if !f.damaged {
				f.recount()
			}
		})
	}
}
