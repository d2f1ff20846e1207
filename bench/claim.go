package main

import "fmt"

// claim compares a measured figure with the one that is owed, and with the one that we
// would be proud of.
type claim struct {
	what        string
	measured    float64
	owed, proud float64
	less        bool // a smaller figure is better
	format      string
}

func times(of string, measured, owed, proud float64) claim {
	return claim{what: "times " + of, measured: measured, owed: owed, proud: proud, format: "%.2f"}
}

// cost is the claim of a processor time in ms. owed and proud are for a machine on which
// the same work takes the program other the time known. They are scaled by takes, its
// time in the same run.
func cost(measured, owed, proud float64, other string, takes, known float64) claim {
	what := fmt.Sprintf("CPU an operation, where %s takes %.3g ms", other, known)
	return claim{what: what, measured: measured * known / takes, owed: owed, proud: proud, less: true, format: "%.3f ms"}
}

func atMost(what, format string, measured, owed, proud float64) claim {
	return claim{what: what, measured: measured, owed: owed, proud: proud, less: true, format: format}
}

func atLeast(what string, measured, owed, proud float64) claim {
	return claim{what: what, measured: measured, owed: owed, proud: proud, format: "%.2f"}
}

// verdict says which of the two figures is reached. A claim without a proud figure has
// proud equal to owed.
func (c claim) verdict() string {
	reaches := func(goal float64) bool {
		if c.less {
			return c.measured <= goal
		}
		return c.measured >= goal
	}
	switch {
	case reaches(c.proud):
		return "proud"
	case reaches(c.owed):
		return "owed"
	}
	return "**missed**"
}

func (c claim) figure(v float64) string { return fmt.Sprintf(c.format, v) }
