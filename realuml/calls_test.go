package realuml

import (
	"goskas/program"

	"golang.org/x/sys/unix"
)

func callResults(p *program.Program) {
	p.Reserve("buffer", 4096, 16)
	buffer := program.Label("buffer")
	for _, c := range []struct {
		name string
		nr   int
		args []any
	}{
		{"read from no descriptor", unix.SYS_READ, []any{-1, buffer, 1}},
		{"read to nowhere", unix.SYS_READ, []any{0, nowhere, 1}},
		{"read at the end", unix.SYS_READ, []any{0, buffer, 1}},
		{"write from nowhere", unix.SYS_WRITE, []any{1, nowhere, 1}},
		{"write from nowhere, nothing", unix.SYS_WRITE, []any{1, nowhere, 0}},
		{"write to input", unix.SYS_WRITE, []any{0, buffer, 1}},
		{"open what is not there", unix.SYS_OPEN, []any{"/no/such/file", 0, 0}},
		{"open an empty name", unix.SYS_OPEN, []any{"", 0, 0}},
		{"open nowhere", unix.SYS_OPEN, []any{nowhere, 0, 0}},
		{"open a directory for writing", unix.SYS_OPEN, []any{"/proc", unix.O_WRONLY, 0}},
		{"open a file as a directory", unix.SYS_OPEN, []any{"/proc/self/exe", unix.O_DIRECTORY, 0}},
		{"close what is not open", unix.SYS_CLOSE, []any{99}},
		{"dup2 of nothing", unix.SYS_DUP2, []any{99, 5}},
		{"dup2 too far", unix.SYS_DUP2, []any{1, 1 << 30}},
		{"dup3 onto itself", unix.SYS_DUP3, []any{1, 1, 0}},
		{"fcntl without a command", unix.SYS_FCNTL, []any{1, 9999, 0}},
		{"fcntl of nothing", unix.SYS_FCNTL, []any{99, unix.F_GETFD, 0}},
		{"close-on-exec of output", unix.SYS_FCNTL, []any{1, unix.F_GETFD, 0}},
		{"ioctl of no terminal", unix.SYS_IOCTL, []any{0, unix.TCGETS, buffer}},
		{"lseek to a bad place", unix.SYS_LSEEK, []any{0, 0, 99}},
		{"pipe into nowhere", unix.SYS_PIPE, []any{nowhere}},
		{"pipe2 with bad flags", unix.SYS_PIPE2, []any{buffer, 0x7}},
		{"poll too many", unix.SYS_POLL, []any{buffer, 1 << 30, 0}},
		{"poll nothing", unix.SYS_POLL, []any{0, 0, 0}},
		{"getcwd in too little room", unix.SYS_GETCWD, []any{buffer, 1}},
		{"readlink of a directory", unix.SYS_READLINK, []any{"/", buffer, 100}},
		{"chdir to a file", unix.SYS_CHDIR, []any{"/proc/self/exe"}},
		{"getdents of a file", unix.SYS_GETDENTS64, []any{0, buffer, 4096}},
		{"access what is not there", unix.SYS_ACCESS, []any{"/no", 0}},
		{"access in a bad way", unix.SYS_ACCESS, []any{"/", 64}},
		{"execve what is not there", unix.SYS_EXECVE, []any{"/no", 0, 0}},
		{"execve a directory", unix.SYS_EXECVE, []any{"/", 0, 0}},
		{"execve nowhere", unix.SYS_EXECVE, []any{nowhere, 0, 0}},
		{"wait without a child", unix.SYS_WAIT4, []any{-1, 0, 0, 0}},
		{"wait in a bad way", unix.SYS_WAIT4, []any{-1, 0, 0x100, 0}},
		{"kill nobody", unix.SYS_KILL, []any{0x3fffffff, 0}},
		{"kill with no signal", unix.SYS_KILL, []any{0, 99}},
		{"tgkill with bad ids", unix.SYS_TGKILL, []any{-1, -1, 0}},
		{"sigaction of no signal", unix.SYS_RT_SIGACTION, []any{99, 0, 0, 8}},
		{"sigaction of SIGKILL", unix.SYS_RT_SIGACTION, []any{9, buffer, 0, 8}},
		{"sigaction with a bad size", unix.SYS_RT_SIGACTION, []any{10, 0, 0, 4}},
		{"sigaction nowhere", unix.SYS_RT_SIGACTION, []any{10, nowhere, 0, 8}},
		{"sigprocmask in a bad way", unix.SYS_RT_SIGPROCMASK, []any{99, buffer, 0, 8}},
		{"sigprocmask with a bad size", unix.SYS_RT_SIGPROCMASK, []any{0, buffer, 0, 16}},
		{"sigaltstack nowhere", unix.SYS_SIGALTSTACK, []any{nowhere, 0}},
		{"nanosleep nowhere", unix.SYS_NANOSLEEP, []any{nowhere, 0}},
		{"clock_gettime of no clock", unix.SYS_CLOCK_GETTIME, []any{999, buffer}},
		{"clock_gettime nowhere", unix.SYS_CLOCK_GETTIME, []any{0, nowhere}},
		{"uname nowhere", unix.SYS_UNAME, []any{nowhere}},
		{"arch_prctl of nothing", unix.SYS_ARCH_PRCTL, []any{0x9999, 0}},
		{"no such call", 999, nil},
		{"a call far beyond", 1 << 30, nil},
		{"mmap of nothing", unix.SYS_MMAP, []any{0, 0, 3, 0x22, -1, 0}},
		{"mmap neither shared nor private", unix.SYS_MMAP, []any{0, 4096, 3, 0x20, -1, 0}},
		{"mmap at an odd place", unix.SYS_MMAP, []any{fixed + 1, 4096, 3, 0x32, -1, 0}},
		{"mmap at an odd offset", unix.SYS_MMAP, []any{0, 4096, 3, 0x2, 0, 1}},
		{"mmap of nothing open", unix.SYS_MMAP, []any{0, 4096, 3, 0x2, 99, 0}},
		{"mmap of too much", unix.SYS_MMAP, []any{0, 1 << 62, 3, 0x22, -1, 0}},
		{"mmap beyond the end", unix.SYS_MMAP, []any{1 << 47, 4096, 3, 0x32, -1, 0}},
		{"munmap at an odd place", unix.SYS_MUNMAP, []any{fixed + 1, 4096}},
		{"munmap of nothing", unix.SYS_MUNMAP, []any{fixed, 0}},
		{"munmap where nothing is", unix.SYS_MUNMAP, []any{fixed, 4096}},
		{"munmap around the end", unix.SYS_MUNMAP, []any{fixed, -4096}},
		{"mprotect where nothing is", unix.SYS_MPROTECT, []any{fixed, 4096, 1}},
		{"mprotect with bad rights", unix.SYS_MPROTECT, []any{fixed, 4096, 0x100}},
		{"mremap where nothing is", unix.SYS_MREMAP, []any{fixed, 4096, 8192, 0, 0}},
		{"mremap over itself, where nothing is", unix.SYS_MREMAP, []any{fixed, 4096, 8192, unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED, fixed + 4096}},
		{"mremap with bad flags", unix.SYS_MREMAP, []any{fixed, 4096, 8192, 0x100, 0}},
		{"madvise in a bad way", unix.SYS_MADVISE, []any{fixed, 4096, 999}},
		{"msync where nothing is", unix.SYS_MSYNC, []any{fixed, 4096, 4}},
		{"mincore where nothing is", unix.SYS_MINCORE, []any{fixed, 4096, buffer}},
		{"mmap of memory without access", unix.SYS_MMAP, []any{fixed, 4096, unix.PROT_NONE, private | unix.MAP_FIXED, -1, 0}},
		{"access a name without access", unix.SYS_ACCESS, []any{fixed, 0}},
		{"mmap of memory to read", unix.SYS_MMAP, []any{fixed, 4096, unix.PROT_READ, private | unix.MAP_FIXED, -1, 0}},
		{"read into memory to read", unix.SYS_RT_SIGPROCMASK, []any{0, 0, fixed, 8}},
		{"getrandom with bad flags", unix.SYS_GETRANDOM, []any{buffer, 1, 0x100}},
		{"getrandom", unix.SYS_GETRANDOM, []any{buffer, 100, 0}},
		{"getpriority of nothing", unix.SYS_GETPRIORITY, []any{9, 0}},
		{"getrlimit of nothing", unix.SYS_GETRLIMIT, []any{999, buffer}},
		{"umask", unix.SYS_UMASK, []any{0o22}},
		{"umask again", unix.SYS_UMASK, []any{0o22}},
		{"alarm", unix.SYS_ALARM, []any{0}},
		{"sched_yield", unix.SYS_SCHED_YIELD, nil},
	} {
		try(p, c.name, c.nr, c.args...)
	}
}
