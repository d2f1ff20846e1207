package directory

// Switches are what a mailbox may do. Each is set by itself. The zero Switches are
// those of a disabled mailbox.
type Switches uint8

// The switches.
const (
	Receives Switches = 1 << iota // mail for it is accepted
	LogsIn                        // its owner may log in
	Sends                         // its owner may submit mail

	AllOn = Receives | LogsIn | Sends
)

// Has reports whether all of those are set in s.
func (s Switches) Has(those Switches) bool { return s&those == those }

// Disabled reports whether no switch is set.
func (s Switches) Disabled() bool { return s == 0 }
