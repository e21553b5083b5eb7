package main

import (
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// One clear line: no usage text, no stack, no second message.
var oneLine = regexp.MustCompile(`^skas: [^\n]+\n$`)

func refuses(t *testing.T, args []string, status int, want string) {
	t.Helper()
	got, stdout, stderr := command(t, args...)
	if got != status || stdout != "" || !oneLine.MatchString(stderr) || !strings.Contains(stderr, want) {
		t.Errorf("skas %q: status %d, stdout %q, stderr %q; want status %d and one line with %q",
			args, got, stdout, stderr, status, want)
	}
}

func TestRunRefusesMistakes(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"run"}, "name the program"},
		{[]string{"run", "--"}, "name the program"},
		{[]string{"run", "--nosuch", "--", "true"}, "unknown flag: --nosuch; see 'skas run --help'"},
		{[]string{"run", "-x"}, "unknown shorthand flag"},
		{[]string{"run", "--mem"}, "flag needs an argument: --mem"},
		{[]string{"run", "--mem", "lots", "--", "true"}, `"lots" is not a size such as 64M or 1G`},
		{[]string{"run", "--mem", "0", "--", "true"}, "is not a size"},
		{[]string{"run", "--mem", "-5M", "--", "true"}, "is not a size"},
		{[]string{"run", "--mem", "99999999999999999999G", "--", "true"}, "is not a size"},
		{[]string{"run", "--mem", "1023K", "--", "true"}, "--mem 1023K: a guest needs at least 1M"},
		{[]string{"run", "--mem", "2000G", "--", "true"}, "--mem 2000G: give at most 1024G"},
		{[]string{"run", "--cpus", "0", "--", "true"}, "--cpus 0: give a number from 1 to 64"},
		{[]string{"run", "--cpus", "65", "--", "true"}, "--cpus 65"},
		{[]string{"run", "--cpus", "two", "--", "true"}, `invalid argument "two"`},
		{[]string{"run", "--hz", "1001", "--", "true"}, "--hz 1001: give a number from 1 to 1000"},
		{[]string{"run", "--json", "--", "true"}, "--json says how to print --stats: give both"},
		{[]string{"run", "--env", "NAME", "--", "true"}, `--env "NAME": write NAME=VALUE`},
		{[]string{"run", "--env", "=x", "--", "true"}, "write NAME=VALUE"},
		{[]string{"run", "--bind", "/etc", "--", "true"}, "--bind /etc: write HOST:GUEST"},
		{[]string{"run", "--bind", "/etc:x", "--", "true"}, "--bind /etc:x: write HOST:GUEST"},
		{[]string{"run", "--bind", ":/tmp/x", "--", "true"}, "--bind :/tmp/x: write HOST:GUEST"},
		{[]string{"run", "--bind", "/etc:/tmp/x:rx", "--", "true"}, `"rx" is neither ro nor rw`},
		{[]string{"run", "--bind", "/nonexistent:/tmp/x", "--", "true"}, "/nonexistent is not a directory"},
		{[]string{"run", "--bind", "/etc:/nonexistent/x", "--", "true"}, "--bind /etc:/nonexistent/x: no such file or directory: give a place"},
		{[]string{"run", "--bind", "/etc:/proc", "--", "true"}, "/proc is the guest's own"},
		{[]string{"run", "--bind", "/etc:/", "--", "true"}, "/ is the guest's own"},
		{[]string{"run", "--cwd", "/nonexistent", "--", "true"}, "--cwd /nonexistent: no such file or directory"},
		{[]string{"run", "--cwd", "/etc/passwd", "--", "true"}, "--cwd /etc/passwd: not a directory"},
		{[]string{"run", "--root", "/nonexistent", "--", "true"}, "--root /nonexistent: not a directory"},
		{[]string{"run", "--root", "/etc/passwd", "--", "true"}, "--root /etc/passwd: not a directory"},
		{[]string{"nosuch"}, `unknown command "nosuch"`},
		{[]string{"--nosuch"}, "unknown flag: --nosuch; see 'skas --help'"},
		{[]string{"version", "x"}, `unknown command "x" for "skas version"`},
		{[]string{"stub", "nosuch"}, `unknown command "nosuch"`},
	} {
		refuses(t, c.args, exitUsage, c.want)
	}
}

// damage is a change to a good executable.
type damage func(h *elf.Header64, file []byte) []byte

// Files that are no programs, one for each way.
func TestGuestRunRefusesFiles(t *testing.T) {
	good, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	place := func(name string, content []byte, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(root, name), content, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(root, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"loop": "loop", "dangling": "nowhere", "up": "../../../../../../bin/busybox"} {
		if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	place("empty", nil, 0o755)
	place("text", []byte("echo hello\n"), 0o755)
	place("orphan", []byte("#!/nowhere/sh\n"), 0o755)
	place("selfish", []byte("#!/selfish\n"), 0o755)
	place("plain", good, 0o644)
	place("headless", good[:40], 0o755)
	place("cut", good[:100], 0o755)
	place("short", good[:len(good)/2], 0o755)

	for _, c := range []struct {
		name   string
		status int
		want   string
	}{
		{"/nosuch", exitNotFound, "/nosuch: not found"},
		{"nosuch", exitNotFound, "nosuch: not found"},
		{"", exitNotFound, "not found"},
		{"/dir/nosuch", exitNotFound, "not found"},
		{"/dangling", exitNotFound, "not found"},
		{"/up", exitNotFound, "not found"}, // the root is the top
		{"/plain/x", exitNotFound, "not a directory"},
		{"/dir", exitCannot, "it is a directory"},
		{"/dev/null", exitCannot, "it is no regular file"},
		{"/loop", exitCannot, "too many levels of symbolic links"},
		{"/plain", exitCannot, "permission denied"},
		{"/empty", exitCannot, "not an ELF executable, nor a script"},
		{"/text", exitCannot, "nor a script that starts with #!"},
		{"/orphan", exitNotFound, "cannot run /orphan: its interpreter /nowhere/sh: no such file"},
		{"/selfish", exitCannot, "too many levels of scripts"},
		{"/headless", exitCannot, "truncated"},
		{"/cut", exitCannot, "truncated: the program headers lie behind the end"},
		{"/short", exitCannot, "truncated: a segment lies behind the end"},
	} {
		refuses(t, []string{"run", "--root", root, "--", c.name}, c.status, c.want)
	}

	le := binary.LittleEndian
	eachLoad := func(h *elf.Header64, file []byte, f func(p []byte)) []byte {
		for i := range uint64(h.Phnum) {
			p := file[h.Phoff+i*uint64(h.Phentsize):]
			if elf.ProgType(le.Uint32(p)) == elf.PT_LOAD {
				f(p)
			}
		}
		return file
	}
	put := func(at int, b ...byte) damage {
		return func(_ *elf.Header64, file []byte) []byte { copy(file[at:], b); return file }
	}
	// Offsets are those of Elf64_Ehdr and Elf64_Phdr (elf.h).
	for _, c := range []struct {
		name string
		do   damage
		want string
	}{
		{"32 bits", put(elf.EI_CLASS, byte(elf.ELFCLASS32)), "made for another machine"},
		{"big-endian", put(elf.EI_DATA, byte(elf.ELFDATA2MSB)), "made for another machine: big-endian"},
		{"arm64", put(18, byte(elf.EM_AARCH64), 0), "made for another machine: EM_AARCH64"},
		{"an object file", put(16, byte(elf.ET_REL)), "not an executable but of type ET_REL"},
		{"entry in kernel space", put(24, 0, 0, 0, 0, 0, 0x80, 0xff, 0xff), "malformed: the entry point"},
		{"program headers at the end of the world", put(32, 0xf0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), "truncated"},
		{"no program headers", put(56, 0, 0), "malformed: 0 program headers"},
		{"65535 program headers", put(56, 0xff, 0xff), "malformed"},
		{"tiny program headers", put(54, 1, 0), "malformed"},
		{"segments in kernel space", func(h *elf.Header64, f []byte) []byte {
			return eachLoad(h, f, func(p []byte) { le.PutUint64(p[16:], 1<<63) })
		}, "malformed"},
		{"segments over the stub", func(h *elf.Header64, f []byte) []byte {
			return eachLoad(h, f, func(p []byte) { le.PutUint64(p[16:], 0x7fffffffc000) })
		}, "malformed"},
		{"segments at 0", func(h *elf.Header64, f []byte) []byte {
			return eachLoad(h, f, func(p []byte) { le.PutUint64(p[16:], 0) })
		}, "malformed"},
		{"memory that wraps", func(h *elf.Header64, f []byte) []byte {
			return eachLoad(h, f, func(p []byte) { le.PutUint64(p[40:], 1<<64-256) })
		}, "malformed"},
		{"more in the file than in memory", func(h *elf.Header64, f []byte) []byte {
			return eachLoad(h, f, func(p []byte) { le.PutUint64(p[40:], 1) })
		}, "malformed"},
		{"offsets that wrap", func(h *elf.Header64, f []byte) []byte {
			return eachLoad(h, f, func(p []byte) { le.PutUint64(p[8:], 1<<64-4096) })
		}, "truncated"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h elf.Header64
			if _, err := binary.Decode(good, le, &h); err != nil {
				t.Fatal(err)
			}
			place("bad", c.do(&h, append([]byte(nil), good...)), 0o755)
			refuses(t, []string{"run", "--root", root, "--", "/bad"}, exitCannot, c.want)
		})
	}
}

// Every command says what it is for, and shows an example.
func TestHelp(t *testing.T) {
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			visit(sub)
		}
		path := strings.Fields(c.CommandPath())[1:]
		if !c.Runnable() || c.Hidden || len(path) > 0 && (path[0] == "help" || path[0] == "completion") {
			return
		}
		status, stdout, stderr := command(t, append(path, "--help")...)
		if status != 0 || stderr != "" || c.Short == "" || !strings.Contains(stdout, "Usage:") {
			t.Errorf("%s --help: status %d, stderr %q, stdout:\n%s", c.CommandPath(), status, stderr, stdout)
		}
		// version takes nothing; a command of a group may have its
		// example there.
		inGroup := c.HasParent() && c.Parent().HasParent() && c.Parent().HasExample()
		if c.Name() != "version" && !c.HasExample() && !inGroup {
			t.Errorf("%s --help shows no example", c.CommandPath())
		}
	}
	visit(newRoot())
	if status, stdout, _ := command(t); status != 0 || !strings.Contains(stdout, "skas run -- busybox") {
		t.Errorf("skas alone: status %d\n%s", status, stdout)
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		status, stdout, stderr := command(t, "completion", shell)
		if status != 0 || stderr != "" || !strings.Contains(stdout, "skas") {
			t.Errorf("%s: status %d, %q, %d bytes", shell, status, stderr, len(stdout))
		}
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{""}, "run\t"},
		{[]string{"run", "--c"}, "--cpus"},
		{[]string{"run", "--mem", ""}, "256M"},
	} {
		if status, stdout, _ := command(t, append([]string{"__complete"}, c.args...)...); status != 0 || !strings.Contains(stdout, c.want) {
			t.Errorf("completing %q: status %d, %q", c.args, status, stdout)
		}
	}
}

func TestVersion(t *testing.T) {
	status, stdout, stderr := command(t, "version")
	if status != 0 || stderr != "" || !regexp.MustCompile(`^skas \S.*\(go1\..*\), mirrors Linux 7\.2 UML\n$`).MatchString(stdout) {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
}
