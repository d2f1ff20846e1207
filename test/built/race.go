//go:build race

package built

// Race says whether the program and its tests have the race detector.
const Race = true
