package strace

import "golang.org/x/sys/unix"

// defs has every call that is printed better than as six numbers.
var defs = map[uint64]*def{
	// Files.
	unix.SYS_READ:            {name: "read", params: out(in(dec), outBuf, size)},
	unix.SYS_WRITE:           {name: "write", params: in(dec, inBuf, size)},
	unix.SYS_PREAD64:         {name: "pread64", params: out(in(dec), outBuf, size, dec64)},
	unix.SYS_PWRITE64:        {name: "pwrite64", params: in(dec, inBuf, size, dec64)},
	unix.SYS_READV:           {name: "readv", params: out(in(dec), iovec(true), size)},
	unix.SYS_WRITEV:          {name: "writev", params: in(dec, iovec(false), size)},
	unix.SYS_PREADV:          {name: "preadv", params: out(in(dec), iovec(true), size, dec64)},
	unix.SYS_PWRITEV:         {name: "pwritev", params: in(dec, iovec(false), size, dec64)},
	unix.SYS_OPEN:            {name: "open", params: in(name, openFlags, createMode(1))},
	unix.SYS_OPENAT:          {name: "openat", params: in(dirfd, name, openFlags, createMode(2))},
	unix.SYS_CREAT:           {name: "creat", params: in(name, octal)},
	unix.SYS_CLOSE:           {name: "close", params: in(dec)},
	unix.SYS_CLOSE_RANGE:     {name: "close_range", params: in(size, size, hex)},
	unix.SYS_LSEEK:           {name: "lseek", params: in(dec, dec64, value(whences))},
	unix.SYS_DUP:             {name: "dup", params: in(dec)},
	unix.SYS_DUP2:            {name: "dup2", params: in(dec, dec)},
	unix.SYS_DUP3:            {name: "dup3", params: in(dec, dec, flags(openBits, "0"))},
	unix.SYS_FCNTL:           {name: "fcntl", params: in(dec, value(fcntls), fcntlArg), result: fcntlResult},
	unix.SYS_IOCTL:           {name: "ioctl", params: out(in(dec, value(ioctls)), ioctlArg)},
	unix.SYS_PIPE:            {name: "pipe", params: out(nil, fds)},
	unix.SYS_PIPE2:           {name: "pipe2", params: out(nil, fds, flags(openBits, "0"))},
	unix.SYS_FLOCK:           {name: "flock", params: in(dec, flags(lockOps, "0"))},
	unix.SYS_FSYNC:           {name: "fsync", params: in(dec)},
	unix.SYS_FDATASYNC:       {name: "fdatasync", params: in(dec)},
	unix.SYS_SYNC:            {name: "sync"},
	unix.SYS_SYNCFS:          {name: "syncfs", params: in(dec)},
	unix.SYS_FADVISE64:       {name: "fadvise64", params: in(dec, dec64, dec64, value(fadvices))},
	unix.SYS_FALLOCATE:       {name: "fallocate", params: in(dec, hex, dec64, dec64)},
	unix.SYS_FTRUNCATE:       {name: "ftruncate", params: in(dec, dec64)},
	unix.SYS_TRUNCATE:        {name: "truncate", params: in(name, dec64)},
	unix.SYS_SENDFILE:        {name: "sendfile", params: in(dec, dec, int64At, size)},
	unix.SYS_COPY_FILE_RANGE: {name: "copy_file_range", params: in(dec, int64At, dec, int64At, size, hex)},
	unix.SYS_GETDENTS64:      {name: "getdents64", params: out(in(dec), dirents, size)},

	// Names.
	unix.SYS_STAT:       {name: "stat", params: out(in(name), stat)},
	unix.SYS_LSTAT:      {name: "lstat", params: out(in(name), stat)},
	unix.SYS_FSTAT:      {name: "fstat", params: out(in(dec), stat)},
	unix.SYS_NEWFSTATAT: {name: "newfstatat", params: out(in(dirfd, name), stat, flags(atFlags, "0"))},
	unix.SYS_STATX:      {name: "statx", params: out(in(dirfd, name, flags(statxFlags, "AT_STATX_SYNC_AS_STAT"), flags(statxMasks, "0")), statx)},
	unix.SYS_STATFS:     {name: "statfs", params: out(in(name), ptr)},
	unix.SYS_FSTATFS:    {name: "fstatfs", params: out(in(dec), ptr)},
	unix.SYS_ACCESS:     {name: "access", params: in(name, flags(accessModes, "F_OK"))},
	unix.SYS_FACCESSAT:  {name: "faccessat", params: in(dirfd, name, flags(accessModes, "F_OK"))},
	unix.SYS_FACCESSAT2: {name: "faccessat2", params: in(dirfd, name, flags(accessModes, "F_OK"), flags(faccessFlags, "0"))},
	unix.SYS_GETCWD:     {name: "getcwd", params: out(nil, outString, size)},
	unix.SYS_CHDIR:      {name: "chdir", params: in(name)},
	unix.SYS_FCHDIR:     {name: "fchdir", params: in(dec)},
	unix.SYS_CHROOT:     {name: "chroot", params: in(name)},
	unix.SYS_MKDIR:      {name: "mkdir", params: in(name, octal)},
	unix.SYS_MKDIRAT:    {name: "mkdirat", params: in(dirfd, name, octal)},
	unix.SYS_MKNOD:      {name: "mknod", params: in(name, octal, hex)},
	unix.SYS_MKNODAT:    {name: "mknodat", params: in(dirfd, name, octal, hex)},
	unix.SYS_RMDIR:      {name: "rmdir", params: in(name)},
	unix.SYS_UNLINK:     {name: "unlink", params: in(name)},
	unix.SYS_UNLINKAT:   {name: "unlinkat", params: in(dirfd, name, flags(unlinkFlags, "0"))},
	unix.SYS_RENAME:     {name: "rename", params: in(name, name)},
	unix.SYS_RENAMEAT:   {name: "renameat", params: in(dirfd, name, dirfd, name)},
	unix.SYS_RENAMEAT2:  {name: "renameat2", params: in(dirfd, name, dirfd, name, flags(renameFlags, "0"))},
	unix.SYS_LINK:       {name: "link", params: in(name, name)},
	unix.SYS_LINKAT:     {name: "linkat", params: in(dirfd, name, dirfd, name, flags(atFlags, "0"))},
	unix.SYS_SYMLINK:    {name: "symlink", params: in(name, name)},
	unix.SYS_SYMLINKAT:  {name: "symlinkat", params: in(name, dirfd, name)},
	unix.SYS_READLINK:   {name: "readlink", params: out(in(name), outBuf, size)},
	unix.SYS_READLINKAT: {name: "readlinkat", params: out(in(dirfd, name), outBuf, size)},
	unix.SYS_CHMOD:      {name: "chmod", params: in(name, octal)},
	unix.SYS_FCHMOD:     {name: "fchmod", params: in(dec, octal)},
	unix.SYS_FCHMODAT:   {name: "fchmodat", params: in(dirfd, name, octal)},
	unix.SYS_CHOWN:      {name: "chown", params: in(name, dec, dec)},
	unix.SYS_LCHOWN:     {name: "lchown", params: in(name, dec, dec)},
	unix.SYS_FCHOWN:     {name: "fchown", params: in(dec, dec, dec)},
	unix.SYS_FCHOWNAT:   {name: "fchownat", params: in(dirfd, name, dec, dec, flags(atFlags, "0"))},
	unix.SYS_UTIMENSAT:  {name: "utimensat", params: in(dirfd, name, utimes, flags(atFlags, "0"))},
	unix.SYS_UMASK:      {name: "umask", params: in(octal), result: octalResult},

	// Waiting for files.
	unix.SYS_POLL:     {name: "poll", params: in(pollfds, size, dec), result: pollResult},
	unix.SYS_PPOLL:    {name: "ppoll", params: in(pollfds, size, timespec, sigset, size), result: pollResult},
	unix.SYS_SELECT:   {name: "select", params: in(dec, fdset, fdset, fdset, timeval), result: selectResult},
	unix.SYS_PSELECT6: {name: "pselect6", params: in(dec, fdset, fdset, fdset, timespec, ptr), result: selectResult},

	// Descriptors of events.
	unix.SYS_EVENTFD:         {name: "eventfd", params: in(dec)},
	unix.SYS_EVENTFD2:        {name: "eventfd2", params: in(dec, hex)},
	unix.SYS_EPOLL_CREATE:    {name: "epoll_create", params: in(dec)},
	unix.SYS_EPOLL_CREATE1:   {name: "epoll_create1", params: in(hex)},
	unix.SYS_EPOLL_CTL:       {name: "epoll_ctl", params: in(dec, value(epollOps), dec, ptr)},
	unix.SYS_EPOLL_WAIT:      {name: "epoll_wait", params: in(dec, ptr, dec, dec)},
	unix.SYS_EPOLL_PWAIT:     {name: "epoll_pwait", params: in(dec, ptr, dec, dec, sigset, size)},
	unix.SYS_EPOLL_PWAIT2:    {name: "epoll_pwait2", params: in(dec, ptr, dec, timespec, sigset, size)},
	unix.SYS_TIMERFD_CREATE:  {name: "timerfd_create", params: in(value(clocks), hex)},
	unix.SYS_TIMERFD_SETTIME: {name: "timerfd_settime", params: out(in(dec, hex, itimerspec), itimerspec)},
	unix.SYS_TIMERFD_GETTIME: {name: "timerfd_gettime", params: out(in(dec), itimerspec)},

	// Memory.
	unix.SYS_MMAP:     {name: "mmap", params: in(ptr, size, flags(protFlags, "PROT_NONE"), flags(mmapFlags, "0"), dec, offset), result: hexResult},
	unix.SYS_MUNMAP:   {name: "munmap", params: in(ptr, size)},
	unix.SYS_MPROTECT: {name: "mprotect", params: in(ptr, size, flags(protFlags, "PROT_NONE"))},
	unix.SYS_MREMAP:   {name: "mremap", params: in(ptr, size, size, flags(mremapFlags, "0"), remapTo), result: hexResult},
	unix.SYS_BRK:      {name: "brk", params: in(ptr), result: hexResult},
	unix.SYS_MADVISE:  {name: "madvise", params: in(ptr, size, value(advices))},
	unix.SYS_MSYNC:    {name: "msync", params: in(ptr, size, flags(msyncFlags, "0"))},
	unix.SYS_MINCORE:  {name: "mincore", params: in(ptr, size, ptr)},
	unix.SYS_MLOCK:    {name: "mlock", params: in(ptr, size)},
	unix.SYS_MUNLOCK:  {name: "munlock", params: in(ptr, size)},

	// Processes.
	unix.SYS_FORK:              {name: "fork"},
	unix.SYS_VFORK:             {name: "vfork"},
	unix.SYS_CLONE:             {name: "clone", params: in(cloneStack, cloneWhat)},
	unix.SYS_CLONE3:            {name: "clone3", params: in(ptr, size)},
	unix.SYS_EXECVE:            {name: "execve", params: in(name, strings0, environ)},
	unix.SYS_EXECVEAT:          {name: "execveat", params: in(dirfd, name, strings0, environ, flags(atFlags, "0"))},
	unix.SYS_EXIT:              {name: "exit", params: in(dec)},
	unix.SYS_EXIT_GROUP:        {name: "exit_group", params: in(dec)},
	unix.SYS_WAIT4:             {name: "wait4", params: out(in(dec), waitStatus, flags(waitOptions, "0"), rusage)},
	unix.SYS_WAITID:            {name: "waitid", params: out(in(value(idTypes), dec), siginfo, flags(waitOptions, "0"), rusage)},
	unix.SYS_GETPID:            {name: "getpid"},
	unix.SYS_GETPPID:           {name: "getppid"},
	unix.SYS_GETTID:            {name: "gettid"},
	unix.SYS_GETUID:            {name: "getuid"},
	unix.SYS_GETEUID:           {name: "geteuid"},
	unix.SYS_GETGID:            {name: "getgid"},
	unix.SYS_GETEGID:           {name: "getegid"},
	unix.SYS_SETUID:            {name: "setuid", params: in(dec)},
	unix.SYS_SETGID:            {name: "setgid", params: in(dec)},
	unix.SYS_GETGROUPS:         {name: "getgroups", params: in(dec, ptr)},
	unix.SYS_SETPGID:           {name: "setpgid", params: in(dec, dec)},
	unix.SYS_GETPGID:           {name: "getpgid", params: in(dec)},
	unix.SYS_GETPGRP:           {name: "getpgrp"},
	unix.SYS_GETSID:            {name: "getsid", params: in(dec)},
	unix.SYS_SETSID:            {name: "setsid"},
	unix.SYS_PRCTL:             {name: "prctl", params: out(in(value(prctls)), prctlArg)},
	unix.SYS_ARCH_PRCTL:        {name: "arch_prctl", params: in(value(archCodes), hex)},
	unix.SYS_SET_TID_ADDRESS:   {name: "set_tid_address", params: in(ptr)},
	unix.SYS_SET_ROBUST_LIST:   {name: "set_robust_list", params: in(ptr, size)},
	unix.SYS_RSEQ:              {name: "rseq", params: in(ptr, hex, hex, hex)},
	unix.SYS_FUTEX:             {name: "futex", params: in(ptr, futexOp, dec, ptr)},
	unix.SYS_SCHED_YIELD:       {name: "sched_yield"},
	unix.SYS_SCHED_GETAFFINITY: {name: "sched_getaffinity", params: in(dec, size, ptr)},
	unix.SYS_SCHED_SETAFFINITY: {name: "sched_setaffinity", params: in(dec, size, ptr)},
	unix.SYS_GETCPU:            {name: "getcpu", params: in(ptr, ptr, ptr)},
	unix.SYS_PERSONALITY:       {name: "personality", params: in(hex)},
	unix.SYS_GETRLIMIT:         {name: "getrlimit", params: out(in(value(resources)), rlimit("RLIM_INFINITY"))},
	unix.SYS_SETRLIMIT:         {name: "setrlimit", params: in(value(resources), rlimit("RLIM_INFINITY"))},
	unix.SYS_PRLIMIT64:         {name: "prlimit64", params: out(in(dec, value(resources), rlimit("RLIM64_INFINITY")), rlimit("RLIM64_INFINITY"))},
	unix.SYS_GETRUSAGE:         {name: "getrusage", params: out(in(value(rusageWho)), rusage)},

	// Signals.
	unix.SYS_KILL:            {name: "kill", params: in(dec, signal)},
	unix.SYS_TKILL:           {name: "tkill", params: in(dec, signal)},
	unix.SYS_TGKILL:          {name: "tgkill", params: in(dec, dec, signal)},
	unix.SYS_RT_SIGACTION:    {name: "rt_sigaction", params: out(in(signal, sigaction), sigaction, size)},
	unix.SYS_RT_SIGPROCMASK:  {name: "rt_sigprocmask", params: out(in(value(sigHows), sigset), sigset, size)},
	unix.SYS_RT_SIGPENDING:   {name: "rt_sigpending", params: out(nil, sigset, size)},
	unix.SYS_RT_SIGSUSPEND:   {name: "rt_sigsuspend", params: in(sigset, size)},
	unix.SYS_RT_SIGTIMEDWAIT: {name: "rt_sigtimedwait", params: out(in(sigset), siginfo, timespec, size)},
	unix.SYS_RT_SIGRETURN:    {name: "rt_sigreturn", params: out(nil, returnMask)},
	unix.SYS_RT_SIGQUEUEINFO: {name: "rt_sigqueueinfo", params: in(dec, signal, siginfo)},
	unix.SYS_SIGALTSTACK:     {name: "sigaltstack", params: out(in(stack), stack)},
	unix.SYS_PAUSE:           {name: "pause"},
	unix.SYS_RESTART_SYSCALL: {name: "restart_syscall"},

	// Time and the rest.
	unix.SYS_TIME:            {name: "time", params: out(nil, ptr)},
	unix.SYS_GETTIMEOFDAY:    {name: "gettimeofday", params: out(nil, timeval, ptr)},
	unix.SYS_CLOCK_GETTIME:   {name: "clock_gettime", params: out(in(value(clocks)), timespec)},
	unix.SYS_CLOCK_GETRES:    {name: "clock_getres", params: out(in(value(clocks)), timespec)},
	unix.SYS_NANOSLEEP:       {name: "nanosleep", params: out(in(timespec), restOfSleep)},
	unix.SYS_CLOCK_NANOSLEEP: {name: "clock_nanosleep", params: out(in(value(clocks), flags(sleepFlags, "0"), timespec), restOfSleep)},
	unix.SYS_ALARM:           {name: "alarm", params: in(dec)},
	unix.SYS_SETITIMER:       {name: "setitimer", params: out(in(value(itimers), itimerval), itimerval)},
	unix.SYS_GETITIMER:       {name: "getitimer", params: out(in(value(itimers)), itimerval)},
	unix.SYS_TIMES:           {name: "times", params: out(nil, ptr)},
	unix.SYS_UNAME:           {name: "uname", params: out(nil, uname)},
	unix.SYS_REBOOT:          {name: "reboot", params: in(value(rebootMagics), value(rebootMagics), value(rebootCmds))},
	unix.SYS_SYSINFO:         {name: "sysinfo", params: out(nil, sysinfo)},
	unix.SYS_GETRANDOM:       {name: "getrandom", params: out(nil, outHex, size, flags(randomFlags, "0"))},
	unix.SYS_SETHOSTNAME:     {name: "sethostname", params: in(inBuf, size)},

	// Sockets.
	unix.SYS_SOCKET:      {name: "socket", params: in(dec, hex, dec)},
	unix.SYS_SOCKETPAIR:  {name: "socketpair", params: out(in(dec, hex, dec), fds)},
	unix.SYS_BIND:        {name: "bind", params: in(dec, ptr, dec)},
	unix.SYS_LISTEN:      {name: "listen", params: in(dec, dec)},
	unix.SYS_ACCEPT:      {name: "accept", params: in(dec, ptr, ptr)},
	unix.SYS_ACCEPT4:     {name: "accept4", params: in(dec, ptr, ptr, hex)},
	unix.SYS_CONNECT:     {name: "connect", params: in(dec, ptr, dec)},
	unix.SYS_SHUTDOWN:    {name: "shutdown", params: in(dec, dec)},
	unix.SYS_GETSOCKNAME: {name: "getsockname", params: in(dec, ptr, ptr)},
	unix.SYS_GETPEERNAME: {name: "getpeername", params: in(dec, ptr, ptr)},
	unix.SYS_GETSOCKOPT:  {name: "getsockopt", params: in(dec, dec, dec, ptr, ptr)},
	unix.SYS_SETSOCKOPT:  {name: "setsockopt", params: in(dec, dec, dec, ptr, dec)},
	unix.SYS_SENDTO:      {name: "sendto", params: in(dec, inBuf, size, hex, ptr, dec)},
	unix.SYS_RECVFROM:    {name: "recvfrom", params: out(in(dec), outBuf, size, hex, ptr, ptr)},
	unix.SYS_SENDMSG:     {name: "sendmsg", params: in(dec, ptr, hex)},
	unix.SYS_RECVMSG:     {name: "recvmsg", params: in(dec, ptr, hex)},
	unix.SYS_SENDMMSG:    {name: "sendmmsg", params: in(dec, ptr, size, hex)},
	unix.SYS_RECVMMSG:    {name: "recvmmsg", params: in(dec, ptr, size, hex, timespec)},
}

// offset is a file offset in hex, 0 for 0.
func offset(s *state, i int) string {
	if s.args[i] == 0 {
		return "0"
	}
	return hex(s, i)
}

// remapTo is the new address of mremap, there only if it is fixed.
func remapTo(s *state, i int) string {
	if s.args[3]&unix.MREMAP_FIXED == 0 {
		return omit
	}
	return ptr(s, i)
}

// prctlArg is the second argument of prctl, by its first.
func prctlArg(s *state, i int) string {
	if op := s.args[0]; op == unix.PR_SET_NAME || op == unix.PR_GET_NAME && s.done && !s.failed() {
		return text(s, i)
	}
	return hex(s, i)
}

// cloneStack and cloneWhat print clone's arguments in strace's own order and
// with names.
func cloneStack(s *state, _ int) string { return "child_stack=" + pointer(s.args[1]) }

func cloneWhat(s *state, _ int) string {
	t := "flags=" + cloneFlagText(s, 0)
	if s.args[0]&unix.CLONE_PARENT_SETTID != 0 {
		t += ", parent_tid=" + pointer(s.args[2])
	}
	if s.args[0]&(unix.CLONE_CHILD_SETTID|unix.CLONE_CHILD_CLEARTID) != 0 {
		t += ", child_tidptr=" + pointer(s.args[3])
	}
	if s.args[0]&unix.CLONE_SETTLS != 0 {
		t += ", tls=" + pointer(s.args[4])
	}
	return t
}

// restOfSleep is the time left, filled in only by an interrupted sleep.
func restOfSleep(s *state, i int) string {
	if s.result == -int64(unix.EINTR) {
		s.done = false
		return timespec(s, i)
	}
	return pointer(s.args[i])
}

// returnMask is the signal mask that rt_sigreturn goes back to, which the
// caller of Exit has put into the arguments.
func returnMask(s *state, i int) string { return "{mask=" + sigsetText(s.args[i]) + "}" }
