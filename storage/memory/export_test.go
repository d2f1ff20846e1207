package memory

// Reopen acts as if the store were closed and opened again with other options. Nothing
// may be in use.
func (s *Store) Reopen(o Options) {
	s.options, s.buffers = o, New(o).buffers
}

// CutContent removes the last octet of all content that is stored.
func (s *Store) CutContent() {
	s.mu.Lock()
	defer s.mu.Unlock()
	cut := map[*content]bool{}
	for _, m := range s.byID {
		for _, f := range m.folders {
			for _, e := range f.entries {
				if c := e.content; !cut[c] && len(c.pieces) > 0 {
					cut[c] = true
					last := len(c.pieces) - 1
					c.pieces[last] = c.pieces[last][:len(c.pieces[last])-1]
				}
			}
		}
	}
}
