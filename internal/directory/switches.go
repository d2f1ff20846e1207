package directory

// Switches are what a mailbox may do, each by itself. The zero Switches are those
// of a disabled mailbox.
type Switches uint8

// The switches.
const (
	Receives Switches = 1 << iota // mail for it is taken
	LogsIn                        // its owner may log in
	Sends                         // its owner may submit mail

	AllOn = Receives | LogsIn | Sends
)

// Has reports whether all of those are on.
func (s Switches) Has(those Switches) bool { return s&those == those }

// Disabled reports whether nothing is on.
func (s Switches) Disabled() bool { return s == 0 }
