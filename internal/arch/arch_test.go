// Package arch holds the rooms of the house against its plan: the non-test
// imports of the whole module run downward only, never sideways, and a module
// of others is used only where the plan says so.
package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "mailsrv"

// room is a package and what it may import. A path that ends in "/..." stands
// for all packages below it.
type room struct {
	row      int
	path     string
	ours     rule
	others   []string // modules, or packages of them
	testOnly bool     // imported by tests alone
	by       []string // the rooms that alone may import it; none: all that the plan lets
	// Of a room that is a part of another: which, for whose parts alone it is, and how
	// far below it stands.
	of    string
	depth int
}

// plan is the import table of the design. A package that is not here has no
// place in the house yet: give it a row, and say in docs/adr why.
var plan = []room{
	{row: 5, path: "cmd/...", ours: everything, others: []string{
		"github.com/spf13/cobra",
		"github.com/coreos/go-systemd/v22/daemon",
		"golang.org/x/term",
	}},
	{row: 5, path: "bench/...", ours: everything, others: []string{anyModule}},

	{row: 4, path: "smtpd", ours: only("smtpd/library", "internal/refusal", "internal/mail", "internal/listen", "internal/logs", "internal/bounded", "internal/buffers")},
	{row: 3, path: "smtpd/library", ours: only("internal/refusal", "internal/wire", "internal/listen", "internal/logs"), others: []string{"github.com/emersion/go-smtp"}},
	{row: 4, path: "pop3d", ours: andBelow("storage", "internal/auth"), others: []string{"github.com/emersion/go-sasl"}},
	{row: 4, path: "internal/backend", ours: andBelow("storage/sqlite", "internal/directory")},
	{row: 4, path: "internal/admin", ours: andBelow("storage", "internal/directory", "internal/auth")},
	{row: 4, path: "internal/control", ours: only("internal/logs")},
	{row: 4, path: "internal/config", ours: only("quota", "internal/mail", "internal/listen"), others: []string{"github.com/spf13/viper"}},

	{row: 3, path: "delivery", ours: andBelow("storage", "internal/directory", "internal/refusal")},
	{row: 3, path: "storage/sqlite", by: []string{"internal/backend", "bench/..."}, ours: andBelow("storage", "internal/directory"), others: []string{"golang.org/x/sys/unix"}},
	{row: 3, of: "storage/sqlite", depth: 1, path: "storage/sqlite/repair", ours: only("storage", "internal/directory", "internal/mail"), others: sqliteModules},
	{row: 3, of: "storage/sqlite", depth: 1, path: "storage/sqlite/backup", ours: only("storage"), others: sqliteModules},
	{row: 3, of: "storage/sqlite", depth: 2, path: "storage/sqlite/tables", ours: only("storage", "quota", "internal/mail"), others: sqliteModules},
	{row: 3, of: "storage/sqlite", depth: 2, path: "storage/sqlite/commit", ours: only("storage", "internal/buffers", "internal/logs"), others: sqliteModules},
	{row: 3, of: "storage/sqlite", depth: 3, path: "storage/sqlite/db", ours: only("storage"), others: sqliteModules},
	{row: 3, path: "storage/memory", ours: andBelow("storage", "internal/directory"), testOnly: true},
	{row: 3, path: "storage/storagetest", ours: andBelow("storage", "internal/directory"), testOnly: true},
	{row: 3, path: "internal/auth", ours: andBelow("internal/directory"), others: []string{
		"golang.org/x/crypto",
		"github.com/emersion/go-sasl",
		"github.com/go-crypt/crypt",
	}},

	{row: 2, path: "storage", ours: andBelow("quota", "internal/mail")},
	{row: 2, path: "internal/refusal", ours: nothing},
	{row: 2, path: "internal/directory", ours: andBelow("quota", "internal/mail")},

	{row: 1, path: "quota", ours: nothing},
	{row: 1, path: "internal/wire", ours: nothing},
	{row: 1, path: "internal/mail", ours: nothing, others: []string{"golang.org/x/net/idna", "golang.org/x/text"}},

	{row: 0, path: "internal/listen", ours: only("internal/logs")},
	{row: 0, path: "internal/buffers", ours: nothing},

	{row: -1, path: "internal/bounded", ours: nothing},
	{row: -1, path: "internal/logs", ours: nothing}, // below row 0, whose rooms log too
	{row: -1, path: "internal/arch", ours: nothing},

	// The workshop. What it shows of the house may use all of it; what its tests
	// share is for tests alone.
	{row: 5, path: "test/powerloss", ours: everything, others: []string{"github.com/hanwen/go-fuse/v2"}},
	{row: 5, path: "test/proof", ours: everything},
	{row: 0, path: "test/asroot", ours: nothing, testOnly: true, others: []string{"golang.org/x/sys/unix"}},
	{row: 0, path: "test/built", ours: nothing, testOnly: true},
	{row: 0, path: "test/kit", ours: nothing, testOnly: true},
	{row: 0, path: "test/transcript", ours: only("internal/logs"), testOnly: true},
}

// sqliteModules are what the parts of storage/sqlite stand on.
var sqliteModules = []string{"github.com/mattn/go-sqlite3", "golang.org/x/sys/unix"}

// anyModule stands for all modules of others.
const anyModule = "*"

// rule says which rooms of ours may be imported. That each import runs downward
// is asked besides.
type rule struct {
	rooms []string
	below bool // and every row below the highest of rooms
	all   bool
}

var (
	everything = rule{all: true}
	nothing    = rule{}
)

func only(rooms ...string) rule     { return rule{rooms: rooms} }
func andBelow(rooms ...string) rule { return rule{rooms: rooms, below: true} }

// allows reports whether a room under this rule may import another.
func (r rule) allows(imported room) bool {
	if r.all || slices.Contains(r.rooms, imported.path) {
		return true
	}
	return r.below && slices.ContainsFunc(plan, func(named room) bool {
		return slices.Contains(r.rooms, named.path) && imported.row < named.row
	})
}

// family is the room that a room is, or is a part of.
func (r room) family() string {
	if r.of != "" {
		return r.of
	}
	return r.path
}

// find returns the room of a package of ours.
func find(importPath string) (room, bool) {
	path := strings.TrimPrefix(importPath, module+"/")
	for _, r := range plan {
		if tree, ok := strings.CutSuffix(r.path, "/..."); path == r.path || ok && within(path, tree) {
			return r, true
		}
	}
	return room{}, false
}

// within reports whether path is root or below it.
func within(path, root string) bool {
	return path == root || strings.HasPrefix(path, root+"/")
}

// goPackage is what go list says of a package.
type goPackage struct {
	ImportPath string
	Imports    []string // by files that are no tests
}

// breaches says, a line each, what in a package is against the plan.
func breaches(p goPackage) (lines []string) {
	importer, known := find(p.ImportPath)
	if !known {
		return []string{fmt.Sprintf("%s has no row in the plan", p.ImportPath)}
	}
	breach := func(imported, why string) {
		lines = append(lines, fmt.Sprintf("%s imports %s: %s", p.ImportPath, imported, why))
	}
	for _, path := range p.Imports {
		first, _, _ := strings.Cut(path, "/")
		switch {
		case within(path, module):
			imported, known := find(path)
			switch {
			case !known:
				breach(path, "has no row in the plan")
			case imported.testOnly:
				breach(path, "is for tests alone")
			case imported.path == importer.path: // one room of several packages
			case imported.of != "" && imported.of == importer.family():
				if imported.depth <= importer.depth {
					breach(path, fmt.Sprintf("not downward within %s", imported.of))
				}
			case imported.of != "":
				breach(path, "is a part of "+imported.of)
			case imported.row >= importer.row:
				breach(path, fmt.Sprintf("from row %d to row %d is not downward", importer.row, imported.row))
			case imported.by != nil && !slices.Contains(imported.by, importer.path):
				breach(path, "for "+strings.Join(imported.by, " and ")+" alone")
			case !importer.ours.allows(imported):
				breach(path, "not among the rooms that it may import")
			}
		case strings.Contains(first, "."): // not the standard library
			allowed := func(other string) bool { return other == anyModule || within(path, other) }
			if !slices.ContainsFunc(importer.others, allowed) {
				breach(path, "not among the modules that it may use")
			}
		}
	}
	return lines
}

func TestImportsFollowThePlan(t *testing.T) {
	list := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/...")
	var problems bytes.Buffer
	list.Stderr = &problems
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &problems)
	}
	seen := map[string]bool{}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen[strings.TrimPrefix(p.ImportPath, module+"/")] = true
		for _, line := range breaches(p) {
			t.Error(line)
		}
		if r, known := find(p.ImportPath); known { // go test -v prints the table
			t.Logf("row %2d  %-28s %s", r.row, strings.TrimPrefix(p.ImportPath, module+"/"), strings.Join(roomsOf(p.Imports), " "))
		}
	}
	for _, r := range plan {
		if !strings.HasSuffix(r.path, "/...") && !seen[r.path] {
			t.Errorf("the plan has a row for %s, which does not exist", r.path)
		}
	}
}

// roomsOf returns those of some imports that are rooms of the house.
func roomsOf(imports []string) (rooms []string) {
	for _, path := range imports {
		if room, ours := strings.CutPrefix(path, module+"/"); ours {
			rooms = append(rooms, room)
		}
	}
	return rooms
}

// The test above must be able to fail.
func TestBreachesAreFound(t *testing.T) {
	for _, test := range []struct {
		importer, imported string
		ok                 bool
	}{
		{"cmd/mailsrv", "mailsrv/storage/sqlite", false}, // it opens stores by their URL
		{"cmd/mailsrv", "mailsrv/internal/backend", true},
		{"internal/backend", "mailsrv/storage/sqlite", true},
		{"internal/backend", "mailsrv/internal/config", false},
		{"bench/peers", "mailsrv/storage/sqlite", true},
		{"cmd/mailsrv", "mailsrv/storage/storagetest", false}, // tests alone
		{"cmd/mailsrv", "mailsrv/storage/memory", false},
		{"cmd/mailsrv", "mailsrv/test/transcript", false},
		{"cmd/mailsrv", "golang.org/x/term", true},
		{"cmd/mailsrv", "github.com/emersion/go-smtp", false},
		{"cmd/mailsrv", "github.com/coreos/go-systemd/v22/activation", false},
		{"bench/load", "mailsrv/smtpd", true},
		{"bench/load", "github.com/emersion/go-smtp", true},
		{"bench/load", "mailsrv/internal/news", false}, // unknown
		{"internal/news", "fmt", false},
		{"smtpd", "mailsrv/internal/refusal", true},
		{"smtpd", "mailsrv/delivery", false}, // it says itself what it needs
		{"smtpd", "mailsrv/storage", false},
		{"smtpd", "mailsrv/internal/logs", true},
		{"smtpd", "mailsrv/internal/auth", false}, // beside delivery
		{"smtpd", "mailsrv/storage/sqlite", false},
		{"smtpd", "mailsrv/pop3d", false},               // sideways
		{"smtpd", "github.com/emersion/go-smtp", false}, // its library does
		{"smtpd/library", "github.com/emersion/go-smtp", true},
		{"smtpd/library", "mailsrv/internal/mail", false},
		{"smtpd", "github.com/emersion/go-sasl", false},
		{"smtpd/library", "github.com/emersion/go-smtpfork", false},
		{"pop3d", "mailsrv/internal/directory", true},
		{"pop3d", "mailsrv/delivery", false},
		{"internal/config", "mailsrv/internal/listen", true},
		{"internal/config", "mailsrv/internal/directory", false},
		{"delivery", "mailsrv/smtpd", false}, // upward
		{"delivery", "mailsrv/storage/sqlite", false},
		{"delivery", "mailsrv/internal/directory", true},
		{"internal/auth", "mailsrv/internal/directory", true},
		{"internal/auth", "mailsrv/storage", false}, // beside directory
		{"internal/auth", "golang.org/x/crypto/argon2", true},
		{"storage", "mailsrv/quota", true},
		{"storage", "github.com/mattn/go-sqlite3", false},
		{"storage", "database/sql", true},
		{"storage/memory", "mailsrv/internal/buffers", true},
		{"storage/memory", "mailsrv/storage/sqlite", false},
		{"quota", "mailsrv/internal/mail", false},
		{"quota", "mailsrv/internal/logs", false},
		{"internal/listen", "mailsrv/internal/logs", true},
		{"internal/listen", "mailsrv/internal/buffers", false},
		{"internal/logs", "mailsrv/internal/listen", false},
		{"storage/sqlite", "mailsrv/storage/sqlite/commit", true},
		{"storage/sqlite", "github.com/mattn/go-sqlite3", false}, // its parts do
		{"internal/backend", "mailsrv/storage/sqlite/db", false}, // a part of a room
		{"storage/memory", "mailsrv/storage/sqlite/tables", false},
		{"storage/sqlite/repair", "mailsrv/storage/sqlite/tables", true},
		{"storage/sqlite/repair", "mailsrv/storage/sqlite/commit", true},
		{"storage/sqlite/repair", "mailsrv/storage/sqlite/backup", false}, // sideways
		{"storage/sqlite/commit", "mailsrv/storage/sqlite/tables", false}, // it knows no table
		{"storage/sqlite/tables", "mailsrv/storage/sqlite/commit", false},
		{"storage/sqlite/db", "mailsrv/storage/sqlite/tables", false}, // upward
		{"storage/sqlite/db", "mailsrv/storage/sqlite", false},
		{"storage/sqlite/commit", "mailsrv/quota", false},
	} {
		found := breaches(goPackage{ImportPath: module + "/" + test.importer, Imports: []string{test.imported}})
		if (len(found) == 0) != test.ok {
			t.Errorf("%s imports %s: %q", test.importer, test.imported, found)
		}
	}
}
