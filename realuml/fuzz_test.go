package realuml

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"goskas/arch/amd64/asm"
	"goskas/program"

	"golang.org/x/sys/unix"
)

var (
	fuzzSeed  = flag.Uint64("seed", 0, "run only the fuzzed program with this seed")
	fuzzCount = flag.Int("seeds", 8, "how many fuzzed programs to compare")
	fuzzOps   = flag.Int("ops", 150, "operations of a fuzzed program")
)

// TestGuestMemoryOperations compares a long sequence of operations on memory,
// with a checksum of all of it after each.
func TestGuestMemoryOperations(t *testing.T) {
	compareFuzzed(t, []uint64{1}, fuzzer{ops: 2000, checkEvery: 1})
}

// TestGuestFuzzed compares random programs. It prints how to repeat one that
// fails.
func TestGuestFuzzed(t *testing.T) {
	var seeds []uint64
	if *fuzzSeed != 0 {
		seeds = append(seeds, *fuzzSeed)
	} else {
		for i := range *fuzzCount {
			seeds = append(seeds, uint64(100+i))
		}
	}
	compareFuzzed(t, seeds, fuzzer{ops: *fuzzOps, checkEvery: 4, processes: true})
}

func compareFuzzed(t *testing.T, seeds []uint64, f fuzzer) {
	t.Parallel()
	k := need(t)
	skas := command(t)
	var images [][]byte
	for _, seed := range seeds {
		g := f
		image, err := g.build(seed)
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, image)
	}
	results := runEverywhere(t, k, skas, images)
	for i, seed := range seeds {
		want := results[i][linux]
		for _, who := range others() {
			got := results[i][who]
			if d := firstDifference(want, got); d != "" {
				complain := t.Errorf
				if who.kind() != ours {
					complain = k.complain(t)
				}
				complain("seed %d, %s: %s\nrepeat with: go test ./realuml -run %s -seed %d -ops %d", seed, who, d, t.Name(), seed, f.ops)
			}
		}
	}
}

// firstDifference shows where two runs part: all that follows may follow from it.
func firstDifference(linux, other *Result) string {
	want, got := strings.Split(string(linux.Output), "\n"), strings.Split(string(other.Output), "\n")
	for i := range max(len(want), len(got)) {
		if i < len(want) && i < len(got) && want[i] == got[i] {
			continue
		}
		const before, after = 4, 3
		part := func(lines []string) string {
			return strings.Join(lines[min(max(0, i-before), len(lines)):min(i+after, len(lines))], "\n\t")
		}
		return fmt.Sprintf("line %d differs; on Linux:\n\t%s\nhere:\n\t%s", i+1, part(want), part(got))
	}
	if linux.Status != other.Status {
		return fmt.Sprintf("exit status %d, on Linux %d", other.Status, linux.Status)
	}
	return ""
}

// Where the fuzzed programs play.
const (
	arena      = fixed
	arenaPages = 16
	pageSize   = 4096
)

// fuzzer writes a program of random operations. Each prints its result.
type fuzzer struct {
	ops        int
	checkEvery int  // a checksum after one in so many operations
	processes  bool // forks, signals and system calls that use the memory, too

	*program.Program
	rng *rand.Rand
	n   int // of the operation
}

func (f *fuzzer) build(seed uint64) ([]byte, error) {
	f.Program = program.New()
	f.rng = rand.New(rand.NewPCG(seed, 0))
	f.handlers()
	f.checksum()
	mmap(f.Program, asm.RBX, arena, arenaPages*pageSize, rw, private|unix.MAP_FIXED)
	f.run(f.ops, 0)
	f.Exit(0)
	return f.Build()
}

// handlers installs one that notes a fault and goes on at the word "resume", and
// one that counts.
func (f *fuzzer) handlers() {
	f.Word("resume")
	f.Word("faults")
	f.Word("where")
	f.Word("signals")
	f.Func("fault", func() {
		f.Inc(8, asm.At("faults"))
		f.Mov(8, asm.RAX, asm.Ptr(asm.RSI, siAddr))
		f.Mov(8, asm.RCX, asm.Imm(31))
		f.Imul(8, asm.RCX, asm.At("where"))
		f.Alu(asm.Add, 8, asm.RAX, asm.RCX)
		f.Mov(4, asm.RCX, asm.Ptr(asm.RSI, siCode))
		f.Alu(asm.Add, 8, asm.RAX, asm.RCX)
		f.Mov(8, asm.At("where"), asm.RAX)
		f.Mov(8, asm.RAX, asm.At("resume"))
		f.Mov(8, asm.Ptr(asm.RDX, ucRIP), asm.RAX)
	})
	f.Func("signal", func() { f.Inc(8, asm.At("signals")) })
	f.Func("back", func() { f.Sys(unix.SYS_RT_SIGRETURN) })
	f.Reserve("action", 32, 8)
	f.Lea(asm.RBX, asm.At("action"))
	f.Mov(8, asm.Ptr(asm.RBX, 8), asm.Imm(saSiginfo|saRestorer))
	f.Lea(asm.RAX, asm.At("back"))
	f.Mov(8, asm.Ptr(asm.RBX, 16), asm.RAX)
	for _, h := range []struct {
		handler string
		signals []unix.Signal
	}{
		{"fault", []unix.Signal{unix.SIGSEGV, unix.SIGBUS}},
		{"signal", []unix.Signal{unix.SIGUSR1, unix.SIGUSR2, unix.SIGCHLD}},
	} {
		f.Lea(asm.RAX, asm.At(h.handler))
		f.Mov(8, asm.Ptr(asm.RBX, 0), asm.RAX)
		for _, s := range h.signals {
			f.Sys(unix.SYS_RT_SIGACTION, int(s), program.Label("action"), 0, 8)
			f.Check("rt_sigaction")
		}
	}
}

// checksum is a function that reads a word of each page of the arena and prints
// a sum over them and over the faults.
func (f *fuzzer) checksum() {
	f.Func("checksum", func() {
		f.Push(asm.RBX)
		f.Push(asm.R12)
		f.Push(asm.R13)
		f.Mov(8, asm.RBX, asm.Imm(arena))
		f.Mov(8, asm.At("faults"), asm.Imm(0))
		f.Mov(8, asm.At("where"), asm.Imm(0))
		f.Alu(asm.Xor, 4, asm.R13, asm.R13)
		f.Lea(asm.RAX, asm.At("unreadable"))
		f.Mov(8, asm.At("resume"), asm.RAX)
		f.Loop(asm.R12, arenaPages, func() {
			f.Mov(8, asm.RAX, asm.Ptr(asm.RBX, 8))
			f.Mov(8, asm.RCX, asm.Imm(1000003))
			f.Imul(8, asm.R13, asm.RCX)
			f.Alu(asm.Add, 8, asm.R13, asm.RAX)
			f.Label("unreadable")
			f.Alu(asm.Add, 8, asm.RBX, asm.Imm(pageSize))
		})
		f.Print("sum ", asm.R13, " faults ", asm.At("faults"), " where ", asm.At("where"), " signals ", asm.At("signals"), "\n")
		f.Pop(asm.R13)
		f.Pop(asm.R12)
		f.Pop(asm.RBX)
	})
}

// guarded runs something that may fault and then goes on behind it.
func (f *fuzzer) guarded(do func()) {
	after := f.Fresh()
	f.Lea(asm.RAX, asm.At(after))
	f.Mov(8, asm.At("resume"), asm.RAX)
	do()
	f.Label(after)
}

// pages is a random range in the arena.
func (f *fuzzer) pages() (addr, length int) {
	first := f.rng.IntN(arenaPages)
	return arena + first*pageSize, (1 + f.rng.IntN(min(6, arenaPages-first))) * pageSize
}

// prot leaves out PROT_NONE where system calls use the memory: in UML they can.
func (f *fuzzer) prot() int {
	if f.processes {
		return []int{unix.PROT_READ, rw, rw}[f.rng.IntN(3)]
	}
	return []int{unix.PROT_NONE, unix.PROT_READ, rw, rw, rw}[f.rng.IntN(5)]
}

// call makes a system call and prints it with its result.
func (f *fuzzer) call(name string, nr int, args ...any) {
	var numbers []string
	for _, a := range args {
		if n, ok := a.(int); ok {
			numbers = append(numbers, fmt.Sprintf("%#x", n))
		}
	}
	try(f.Program, fmt.Sprintf("%d %s(%s)", f.n, name, strings.Join(numbers, ", ")), nr, args...)
}

func (f *fuzzer) run(ops, depth int) {
	kinds := []func(){f.mmap, f.mmap, f.munmap, f.mprotect, f.mprotect, f.mremap, f.madvise, f.store, f.store, f.store, f.load}
	if f.processes {
		kinds = append(kinds, f.kernelStore, f.kernelLoad, f.signal, f.block)
	}
	for range ops {
		f.n++
		if f.processes && depth < 2 && f.rng.IntN(20) == 0 {
			f.fork(depth)
		} else {
			kinds[f.rng.IntN(len(kinds))]()
		}
		if f.rng.IntN(f.checkEvery) == 0 {
			f.Call("checksum")
		}
	}
}

func (f *fuzzer) mmap() {
	addr, length := f.pages()
	flags := unix.MAP_ANONYMOUS | unix.MAP_FIXED | unix.MAP_PRIVATE
	switch f.rng.IntN(6) {
	case 0:
		flags ^= unix.MAP_PRIVATE | unix.MAP_SHARED
	case 1:
		flags |= unix.MAP_POPULATE
	case 2:
		flags |= unix.MAP_FIXED_NOREPLACE
	}
	f.call("mmap", unix.SYS_MMAP, addr, length, f.prot(), flags, -1, 0)
}

func (f *fuzzer) munmap() {
	addr, length := f.pages()
	f.call("munmap", unix.SYS_MUNMAP, addr, length)
}

func (f *fuzzer) mprotect() {
	addr, length := f.pages()
	f.call("mprotect", unix.SYS_MPROTECT, addr, length, f.prot())
}

// mremap moves a single page, or moves or resizes private ones that were mapped
// just now. What comes of several mappings is not the same in all versions of
// Linux; shared memory that grows is a case of its own (memory).
func (f *fuzzer) mremap() {
	from, old := f.pages()
	to, length := f.pages()
	for to < from+max(old, length) && from < to+max(old, length) { // no overlap
		to, length = f.pages()
	}
	if f.rng.IntN(2) == 0 {
		old, length = pageSize, pageSize
	} else {
		f.call("mmap to move", unix.SYS_MMAP, from, old, rw, private|unix.MAP_FIXED, -1, 0)
		f.Mov(8, asm.RBX, asm.Imm(from+8))
		f.Mov(4, asm.Ptr(asm.RBX, 0), asm.Imm(f.rng.Int64N(1<<31)))
	}
	if f.rng.IntN(3) == 0 {
		f.call("mremap in place", unix.SYS_MREMAP, from, old, length, 0, 0)
		return
	}
	f.call("mremap", unix.SYS_MREMAP, from, old, length, unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, to)
}

// madvise takes one page: a range with a hole is a case of its own (memory).
func (f *fuzzer) madvise() {
	addr, _ := f.pages()
	f.call("madvise", unix.SYS_MADVISE, addr, pageSize, unix.MADV_DONTNEED)
}

func (f *fuzzer) store() {
	addr, length := f.pages()
	for at := addr; at < addr+length; at += pageSize {
		f.guarded(func() {
			f.Mov(8, asm.RBX, asm.Imm(at+8))
			f.Mov(4, asm.Ptr(asm.RBX, 0), asm.Imm(f.rng.Int64N(1<<31)))
		})
	}
}

func (f *fuzzer) load() {
	addr, _ := f.pages()
	f.guarded(func() {
		f.Mov(8, asm.RBX, asm.Imm(addr+8))
		f.Mov(8, asm.RAX, asm.Ptr(asm.RBX, 0))
		f.Print(fmt.Sprintf("%d load: ", f.n), asm.RAX, "\n")
	})
}

// kernelStore lets a system call write over a page's end.
func (f *fuzzer) kernelStore() {
	addr, length := f.pages()
	f.call("rt_sigprocmask", unix.SYS_RT_SIGPROCMASK, 0, 0, addr+length-4, 8)
}

func (f *fuzzer) kernelLoad() {
	addr, length := f.pages()
	f.call("access", unix.SYS_ACCESS, addr+length-4, 0)
}

func (f *fuzzer) signal() {
	f.Sys(unix.SYS_GETPID)
	f.call("kill", unix.SYS_KILL, asm.RAX, int([]unix.Signal{unix.SIGUSR1, unix.SIGUSR2}[f.rng.IntN(2)]))
}

// block blocks or unblocks a signal.
func (f *fuzzer) block() {
	f.Reserve(fmt.Sprintf("set%d", f.n), 8, 8)
	set := program.Label(fmt.Sprintf("set%d", f.n))
	f.Mov(8, asm.RAX, asm.Imm(1<<([]unix.Signal{unix.SIGUSR1, unix.SIGUSR2}[f.rng.IntN(2)]-1)))
	f.Mov(8, asm.At(string(set)), asm.RAX)
	f.call("rt_sigprocmask", unix.SYS_RT_SIGPROCMASK, f.rng.IntN(2), set, 0, 8)
}

// fork lets a child go through operations of its own; the parent waits.
func (f *fuzzer) fork(depth int) {
	n := f.n
	f.Program.Fork(func() {
		f.run(1+f.rng.IntN(8), depth+1)
		f.Call("checksum")
		f.Exit(f.rng.IntN(4))
	})
	f.Wait(asm.RAX)
	f.Print(fmt.Sprintf("%d child: ", n), asm.RAX, "\n")
}
