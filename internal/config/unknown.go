package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/viper"
)

// refuseUnknown returns an error for a key in the file that does not exist. A misspelt
// key would silently leave the default.
func refuseUnknown(file string, v *viper.Viper) error {
	known, found := Names(), v.AllKeys()
	slices.Sort(found)
	for _, name := range found {
		if slices.Contains(known, name) {
			continue
		}
		if isSection(name, known) {
			if v.Get(name) == nil {
				continue // an empty section
			}
			return fmt.Errorf("configuration %s: %s %q: write the keys of this section below it, indented", file, name, fmt.Sprint(v.Get(name)))
		}
		if parent, _, nested := strings.Cut(name, "."); nested && slices.Contains(known, parent) {
			return fmt.Errorf("configuration %s: %s is a value: it has no key %s below it", file, parent, name)
		}
		return fmt.Errorf("configuration %s: unknown key %s%s", file, name, didYouMean(nearest(name, known)))
	}
	return nil
}

// unknownVariables returns warnings of variables that do not exist. They are no errors: a
// variable that somebody else has set must not stop a server.
func unknownVariables(vars map[string]string) (warnings []string) {
	known := []string{prefix + "CONFIG"}
	for _, name := range Names() {
		known = append(known, variable(name))
	}
	for name := range vars {
		if !slices.Contains(known, name) {
			warnings = append(warnings, fmt.Sprintf("environment %s is not a key and has no effect%s", name, didYouMean(nearest(name, known))))
		}
	}
	slices.Sort(warnings)
	return warnings
}

// Names returns the names of all keys.
func Names() (names []string) {
	for _, k := range new(Config).keys() {
		names = append(names, k.name)
	}
	return names
}

func isSection(name string, known []string) bool {
	return slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(k, name+".") })
}

func didYouMean(name string) string {
	if name == "" {
		return ""
	}
	return ": did you mean " + name + "?"
}

// renamed maps keys of earlier versions to those of today.
var renamed = map[string]string{"storage.driver": "storage.url", "storage.dsn": "storage.url"}

// nearest returns the known name that was probably meant, or "": the new name of a
// renamed key, a name with a few letters changed, or the full name if only the section is
// missing.
func nearest(name string, known []string) string {
	for old, now := range renamed {
		switch name {
		case old:
			return now
		case variable(old):
			return variable(now)
		}
	}
	best, distance := "", 1+len(name)/4
	for _, k := range known {
		if strings.HasSuffix(k, "."+name) && best == "" {
			best = k
		}
		if d := edits(name, k); d < distance {
			best, distance = k, d
		}
	}
	return best
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
