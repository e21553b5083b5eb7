package guest

import "testing"

// What is less than full says what is missing.
func TestSyscallsAreExplained(t *testing.T) {
	seen := make(map[string]bool)
	for _, s := range Syscalls() {
		if s.Name == "" || seen[s.Name] {
			t.Errorf("system call %d is called %q, which is not a name of its own", s.NR, s.Name)
		}
		seen[s.Name] = true
		if (s.Level == full.String()) != (s.Note == "") {
			t.Errorf("%s has level %s and the note %q", s.Name, s.Level, s.Note)
		}
	}
}
