package realuml

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"goskas/internal/sys"

	"golang.org/x/sys/unix"
)

// Config is one run of one program.
type Config struct {
	// Program is a static executable. It starts in the root of a guest
	// that has little else in it.
	Program []byte
	Args    []string // the first is the program's name; none means "/program"
	Env     []string
	Stdin   []byte
	// Init makes the program process 1, with arguments and environment of
	// the kernel's choice. It ends the guest by power-off or by its death.
	Init bool
	// Ptrace is UML's other mode, seccomp=off.
	Ptrace bool
	// Trace asks for the stubs' host system calls. It needs strace.
	Trace bool
	// Memory is the guest's, in bytes; 0 means 64 MiB.
	Memory int64
}

// Result is what a run has left.
type Result struct {
	// Output is what the program wrote to standard output and error. An
	// Init's is the console up to the guest's end: its lines end as a
	// terminal's do, and the kernel's messages are among them.
	Output []byte
	// Status is the program's exit status, or 128 plus the signal that ended
	// it, as a shell says it. A power-off counts as 0.
	Status int
	// Console is what the kernel said.
	Console string
	// Stubs are the traces of the stub processes, in the order in which
	// these were started.
	Stubs []StubTrace
}

// StubTrace is what strace wrote about one process.
type StubTrace []byte

const defaultMemory = 64 << 20

// Boot runs a program in real UML.
func (k *Kernel) Boot(ctx context.Context, c Config) (*Result, error) {
	results, err := k.boot(ctx, c, [][]byte{c.Program})
	if err != nil {
		return nil, err
	}
	return results[0], nil
}

// BootAll runs several programs in one boot, one after the other. Each has the
// configuration's arguments, environment and input, which is read from its
// beginning by each. Console and Stubs are of all of them together.
func (k *Kernel) BootAll(ctx context.Context, c Config, programs [][]byte) ([]*Result, error) {
	if c.Init || len(programs) == 0 {
		return nil, errors.New("run User Mode Linux: several programs need to be there, and cannot be process 1")
	}
	return k.boot(ctx, c, programs)
}

func (k *Kernel) boot(ctx context.Context, c Config, programs [][]byte) ([]*Result, error) {
	// uml_dir holds a socket, whose path has to be short.
	dir, err := os.MkdirTemp("", "uml")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	root := filepath.Join(dir, "root")
	if err := c.layOut(root, programs); err != nil {
		return nil, err
	}
	args := k.arguments(dir, root, c.Ptrace, c.Memory, "con0=null,fd:1")
	library := "LD_LIBRARY_PATH=" + k.dir
	trace := filepath.Join(dir, "trace")
	if c.Trace {
		args = append([]string{"strace", "-E", library, "-ff", "-o", trace}, args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = k.dir // the loader's path is relative to it
	cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	if !c.Trace {
		cmd.Env = append(cmd.Env, library)
	}
	var console bytes.Buffer
	cmd.Stdout, cmd.Stderr = &console, &console
	cmd.Cancel = func() error { return killUML(dir, cmd.Process) }
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, fmt.Errorf("run User Mode Linux: %w", err)
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("run User Mode Linux: %w; its console:\n%s", context.Cause(ctx), console.String())
	}
	var stubs []StubTrace
	if c.Trace {
		if stubs, err = readTraces(trace); err != nil {
			return nil, err
		}
	}
	var results []*Result
	for n := range programs {
		r := &Result{Console: console.String(), Stubs: stubs}
		if c.Init {
			err = r.readConsole()
		} else {
			err = r.readFiles(root, n)
		}
		if err != nil {
			return nil, fmt.Errorf("%w; User Mode Linux ended with %v, its console:\n%s", err, cmd.ProcessState, r.Console)
		}
		results = append(results, r)
	}
	return results, nil
}

// arguments are the command line of a kernel on the host directory root, with
// the files of its own in dir.
func (k *Kernel) arguments(dir, root string, ptrace bool, memory int64, console string) []string {
	if memory == 0 {
		memory = defaultMemory
	}
	seccomp := "on"
	if ptrace {
		seccomp = "off"
	}
	return []string{
		"./" + executable,
		fmt.Sprintf("mem=%d", memory),
		"seccomp=" + seccomp,
		"root=/dev/root", "rootfstype=hostfs", "rootflags=" + root, "rw",
		"init=/init",
		// Where things lie shall not depend on chance.
		"norandmaps",
		console, "con=null", "ssl=null", "quiet",
		"uml_dir=" + dir + "/", "umid=uml",
	}
}

// layOut makes the guest's root.
func (c Config) layOut(root string, programs [][]byte) error {
	if err := makeRoot(root); err != nil {
		return err
	}
	args := c.Args
	if len(args) == 0 {
		args = []string{"/" + programFile}
	}
	init := c.Program
	if !c.Init {
		var err error
		if init, err = supervisor(len(programs), args, c.Env); err != nil {
			return err
		}
	}
	for n, image := range programs {
		if err := sys.WriteExecutable(filepath.Join(root, numbered(programFile, n)), image, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(root, "init"), init, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, inputFile), c.Stdin, 0o644)
}

// makeRoot makes the directories that every guest has.
func makeRoot(root string) error {
	for _, d := range []string{"dev", "proc", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// initDied is the panic of a kernel whose process 1 has ended; the number is a
// wait status (kernel/exit.c).
var initDied = regexp.MustCompile(`(?s)(.*)Kernel panic - not syncing: Attempted to kill init! exitcode=(0x[0-9a-f]+)`)

// powerDown is the kernel's last message before a power-off (kernel/reboot.c).
const powerDown = "reboot: Power down"

// readConsole finds out how process 1 has ended.
func (r *Result) readConsole() error {
	if before, _, ok := strings.Cut(r.Console, powerDown); ok {
		r.Output = []byte(before)
		return nil
	}
	died := initDied.FindStringSubmatch(r.Console)
	if died == nil {
		return errors.New("the guest neither ended nor lost its init")
	}
	status, err := strconv.ParseUint(died[2], 0, 32)
	if err != nil {
		return err
	}
	r.Output, r.Status = []byte(died[1]), shellStatus(unix.WaitStatus(status))
	return nil
}

// readFiles takes in what the supervisor has left of a program.
func (r *Result) readFiles(root string, n int) error {
	status, err := os.ReadFile(filepath.Join(root, numbered(statusFile, n)))
	if err != nil {
		return fmt.Errorf("a program left no status: %w", err)
	}
	if len(status) != 4 {
		return fmt.Errorf("a program left a status of %d bytes", len(status))
	}
	r.Status = shellStatus(unix.WaitStatus(binary.LittleEndian.Uint32(status)))
	r.Output, err = os.ReadFile(filepath.Join(root, numbered(outputFile, n)))
	return err
}

func shellStatus(s unix.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}

// killUML ends a kernel by the process id that it keeps in its directory, and
// whatever started it. Stubs die with the kernel.
func killUML(dir string, started *os.Process) error {
	text, err := os.ReadFile(filepath.Join(dir, "uml", "pid"))
	if err == nil {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && pid > 1 {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended by itself
		}
	}
	return started.Kill()
}
