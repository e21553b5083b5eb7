package bench

import (
	"fmt"

	"goskas/arch/amd64/asm"

	"golang.org/x/sys/unix"
)

// Row is an operation to measure.
type Row struct {
	Name  string
	About string
	// Metrics are the operations that a round times one by one.
	Metrics []string
	// Rounds is how many a repeat should have; Block how many may run in a
	// row before it is another variant's turn; Warm how many before these
	// do not count.
	Rounds, Block, Warm int
	// HostOnly rows measure the host and make no sense in a guest. They run
	// on one CPU.
	HostOnly bool
	// Needs is a file of the host that the program runs, "" for none. A row
	// that needs one is measured only when asked for.
	Needs string

	// per is the number of operations in a sample.
	per                  int
	setup, round, finish func(source)
}

// samples is the number of samples that a round gives.
func (r *Row) samples() int { return len(r.Metrics) }

// Futex is the name of the yardstick, Getppid of the row that is held to it.
const (
	Futex   = "futex"
	Getppid = "getppid"
)

// Rows are the rows, in the order of a table.
func Rows() []*Row {
	return []*Row{
		{Name: Futex, About: "two processes on one CPU hand a futex word to and fro (the yardstick)",
			Metrics: []string{"futex ping-pong"}, Rounds: 4000, Block: 1000, Warm: 50, HostOnly: true,
			setup: futexSetup, round: futexRound, finish: futexFinish},
		{Name: Getppid, About: "a system call that does nothing",
			Metrics: []string{"getppid"}, Rounds: 4000, Block: 1000, Warm: 50,
			round: func(s source) {
				s.timed(func() { s.Sys(unix.SYS_GETPPID) })
				s.Check("getppid")
			}},
		{Name: "touch", About: fmt.Sprintf("the first write to a page, over runs of %d pages", touchRun),
			Metrics: []string{"fresh page"}, Rounds: 400, Block: 100, Warm: 5, per: touchRun,
			setup: touchSetup, round: touchRound},
		mapRow("map", 4<<10, 0),
		{Name: "fork", About: "fork and wait for a child that exits",
			Metrics: []string{"fork+wait"}, Rounds: 400, Block: 100, Warm: 5,
			round: func(s source) { s.child("fork", func() { s.Exit(0) }) }},
		{Name: "exec", About: "fork, exec and wait",
			Metrics: []string{"fork+exec+wait"}, Rounds: 200, Block: 50, Warm: 5,
			setup: func(s source) {
				s.Reserve("argv", 16, 8)
				s.Mov(8, asm.RAX, asm.Ptr(asm.RBP, 8))
				s.Mov(8, asm.At("argv"), asm.RAX)
			},
			round: func(s source) {
				s.child("exec", func() { s.exec(asm.At("argv"), label("argv"), 0) })
			}},
		{Name: "pipe", About: "a byte to another process and back through two pipes",
			Metrics: []string{"pipe ping-pong"}, Rounds: 2000, Block: 500, Warm: 20,
			setup: pipeSetup, round: pipeRound, finish: pipeFinish},
		shellRow(300),
	}
}

// shellRow has a shell run a program n times.
func shellRow(n int) *Row {
	script := fmt.Sprintf("i=0; while [ $i -lt %d ]; do %s true; i=$((i+1)); done", n, busybox)
	return &Row{
		Name: "shell", About: fmt.Sprintf("busybox starts busybox, %d times in a shell loop; only if named", n),
		Metrics: []string{"exec from a shell"}, Rounds: 2, Block: 1, per: n, Needs: busybox,
		round: func(s source) {
			argv := s.Vector("busybox", "sh", "-c", script)
			s.child("shell", func() { s.exec(busybox, argv, s.Vector()) })
		},
	}
}

const busybox = "/bin/busybox"

// MapRow is a mapping of size bytes, every page of it touched, and its removal.
// The mapping is populated: all pages come with the call.
func MapRow(size int) *Row {
	r := mapRow("mmap-"+SizeName(size), size, unix.MAP_POPULATE)
	r.Rounds = max(400, min(2000, 512<<20/size))
	r.Block = r.Rounds / 8
	return r
}

// PeerRows are the rows of the comparison with real User Mode Linux, in the order
// of its table. They compare what programs do, so the memory of the first mapping
// rows comes by faults.
func PeerRows() []*Row {
	var rows, maps, byCall []*Row
	for _, size := range PostedSizes() {
		name := SizeName(size)
		touched, populated := mapRow("map-"+name, size, 0), MapRow(size)
		touched.Rounds, touched.Block = populated.Rounds, populated.Block
		touched.Metrics[0] = "mmap+touch " + name
		populated.Name = "populate-" + name
		populated.About += ", populated by the call"
		for i := range populated.Metrics {
			populated.Metrics[i] += " populated"
		}
		maps = append(maps, touched)
		byCall = append(byCall, populated)
	}
	for _, r := range Rows() {
		switch {
		case r.HostOnly:
		case r.Name == "map":
			rows = append(append(rows, maps...), byCall...)
		default:
			rows = append(rows, r)
		}
	}
	return rows
}

func mapRow(name string, size, flags int) *Row {
	return &Row{
		Name: name, About: "an anonymous mapping of " + SizeName(size) + " with all pages touched, and its removal",
		Metrics: []string{"mmap " + SizeName(size), "munmap " + SizeName(size)},
		Rounds:  2000, Block: 500, Warm: 20,
		round: func(s source) {
			s.timed(func() {
				s.Sys(unix.SYS_MMAP, 0, size, unix.PROT_READ|unix.PROT_WRITE,
					unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|flags, -1, 0)
				s.Check("mmap")
				s.Mov(8, asm.R15, asm.RAX)
				s.Mov(8, asm.RSI, asm.RAX)
				s.touch(size / pageSize)
			})
			s.timed(func() { s.Sys(unix.SYS_MUNMAP, asm.R15, size) })
			s.Check("munmap")
		},
	}
}

// SizeName is a number of bytes as in the posted table.
func SizeName(size int) string {
	if size >= 1<<20 {
		return fmt.Sprintf("%dM", size>>20)
	}
	return fmt.Sprintf("%dK", size>>10)
}

const pageSize = 4096

// touch writes to n pages from rsi on. rcx and rsi are lost.
func (s source) touch(n int) {
	s.Loop(asm.RCX, n, func() {
		s.Mov(1, asm.Ptr(asm.RSI, 0), asm.Imm(1))
		s.Alu(asm.Add, 8, asm.RSI, asm.Imm(pageSize))
	})
}

// touchRun is the number of pages in a sample of the row "touch". A kernel may
// answer a fault with more pages than the one; what counts is the cost per page
// for a program that goes on to the next.
const touchRun = 16

func touchSetup(s source) {
	s.Mov(8, asm.RBX, asm.Imm(touchRun*pageSize))
	s.Imul(8, asm.RBX, asm.At("rounds"))
	s.Sys(unix.SYS_MMAP, 0, asm.RBX, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, -1, 0)
	s.Check("mmap")
	s.Mov(8, asm.R15, asm.RAX)
	// Pages, not huge ones. A kernel without those refuses.
	s.Sys(unix.SYS_MADVISE, asm.R15, asm.RBX, unix.MADV_NOHUGEPAGE)
}

func touchRound(s source) {
	s.Mov(8, asm.RSI, asm.R15)
	s.timed(func() { s.touch(touchRun) })
	s.Alu(asm.Add, 8, asm.R15, asm.Imm(touchRun*pageSize))
}

// child times a child process from fork to wait.
func (s source) child(what string, body func()) {
	s.timed(func() {
		s.Fork(body)
		s.Wait(-1)
	})
	s.If(asm.RAX, asm.NE, asm.Imm(0), func() {
		s.Print(what, ": the child ended with wait status ", asm.RAX, "\n")
		s.Exit(failed)
	})
}

// failed is the status of a program that could not measure.
const failed = 99

func (s source) exec(path, argv, envp any) {
	s.Sys(unix.SYS_EXECVE, path, argv, envp)
	s.Check("exec")
}
