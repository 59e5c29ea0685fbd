package change

// Fault has f called between the steps of a landing: "begun", "assembled", "kept", "moved".
func (s *Service) Fault(f func(point string)) { s.fault = f }
