package guest

import "golang.org/x/sys/unix"

// table is the system call table of amd64, by number. A call that is not in it
// gives ENOSYS and is counted by its number.
var table [numCounted]entry

// fillTable breaks an initialization cycle: handlers look at the table, too.
func init() {
	for nr, e := range amd64Table {
		table[nr] = e
	}
}
