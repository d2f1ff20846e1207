package peers

import (
	"bytes"
	"os"
	"sync"
)

// counter counts the lines of a growing log file that hold a text.
type counter struct {
	path string
	text []byte

	mu   sync.Mutex
	file *os.File
	rest []byte // the beginning of a line that is not complete
	n    int
}

// count reads what was appended, and returns the number of lines so far.
func (c *counter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil {
		file, err := os.Open(c.path)
		if err != nil {
			return 0
		}
		c.file = file
	}
	buffer := make([]byte, 64<<10)
	for {
		n, err := c.file.Read(buffer)
		c.rest = append(c.rest, buffer[:n]...)
		for {
			line, rest, whole := bytes.Cut(c.rest, []byte("\n"))
			if !whole {
				break
			}
			if bytes.Contains(line, c.text) {
				c.n++
			}
			c.rest = rest
		}
		if err != nil || n == 0 {
			return c.n
		}
	}
}

func (c *counter) close() {
	if c.file != nil {
		c.file.Close()
	}
}
