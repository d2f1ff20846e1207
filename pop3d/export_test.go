package pop3d

// Waiting is how many logins wait for a maildrop.
func (s *Server) Waiting() int {
	s.locks.mu.Lock()
	defer s.locks.mu.Unlock()
	return s.locks.waiting
}
