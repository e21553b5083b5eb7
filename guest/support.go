package guest

// Support says how much there is of a system call.
type Support struct {
	Name  string `json:"name"`
	NR    int    `json:"nr"`
	Level string `json:"level"` // full, partial, or none: known, and refused
	Note  string `json:"note,omitempty"`
}

// Syscalls lists the system calls that the guest knows, by number. All others
// fail with ENOSYS.
func Syscalls() []Support {
	var list []Support
	for nr, e := range table {
		if e.fn != nil {
			list = append(list, Support{e.name, nr, e.level.String(), e.note})
		}
	}
	return list
}
