// Package vfs is the guest's tree of files: a namespace of mounted trees (a host
// directory read-only, writable trees in memory, devices, generated files), open
// files, pipes, the console and descriptor tables.
//
// One turn: Namespace.Walk follows a path from Dentry to Dentry through Node
// Lookup, mounts and symbolic links; Node.Open gives a File; an OpenFile puts
// flags and an offset around it, and lives in one or more FDTables.
//
// Nothing here blocks: an operation that would returns EAGAIN, and the caller
// sleeps on the File's Queue. Errors are unix.Errno, as the guest will see them.
//
// A TTY has programs on one side and a device on the other: a PTYMaster, or the
// host's terminal by a HostTerminal. Sockets carry Messages from peer to peer; open
// files in messages that nobody can read any more are found and closed (flight.go).
//
// There are no locks: the guest's one kernel lock guards everything. The console
// and the HostTerminal alone have goroutines, which take that lock through a
// function.
package vfs
