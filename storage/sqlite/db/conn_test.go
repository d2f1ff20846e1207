package db

import (
	"database/sql/driver"
	"fmt"
	"path/filepath"
	"testing"
)

func TestSettingsAreAsserted(t *testing.T) {
	c, err := Open(filepath.Join(t.TempDir(), "s.db"), 100)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, s := range settings {
		err := c.Each("PRAGMA "+s.name, func(row []driver.Value) error {
			if row[0] != s.want {
				return fmt.Errorf("%s is %v, want %v", s.name, row[0], s.want)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	// In memory there is no WAL: the assertion must fail.
	if _, err := Open(":memory:", 100); err == nil {
		t.Error("a database without WAL was opened")
	}
}
