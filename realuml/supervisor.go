package realuml

import (
	"fmt"

	"goskas/arch/amd64/asm"
	"goskas/program"

	"golang.org/x/sys/unix"
)

// Files in the guest's root by which the supervisor and Boot talk. Those of a
// program other than the first have its number behind their name.
const (
	programFile = "program"
	inputFile   = "input"
	outputFile  = "output"
	statusFile  = "status"
)

func numbered(name string, n int) string {
	if n == 0 {
		return name
	}
	return fmt.Sprintf("%s-%d", name, n)
}

// noExec is the status of a program that could not be executed; a shell's.
const noExec = 126

// supervisor assembles the init that runs programs as its children, one after
// the other: input and output are files, so that nothing of the kernel's console
// is in them, and the wait status goes to a third one.
func supervisor(programs int, args, env []string) ([]byte, error) {
	p := program.New()
	mount(p)
	argv, envp, status := p.Vector(args...), p.Vector(env...), p.Word("status")

	open := func(name string, flags int, fds ...int) {
		p.Sys(unix.SYS_OPEN, "/"+name, flags, 0o644)
		p.Check("open " + name)
		p.Mov(8, asm.R12, asm.RAX)
		for _, fd := range fds {
			p.Sys(unix.SYS_DUP2, asm.R12, fd)
			p.Check("dup2")
		}
	}
	for n := range programs {
		p.Fork(func() {
			open(inputFile, unix.O_RDONLY, 0)
			p.Sys(unix.SYS_CLOSE, asm.R12)
			open(numbered(outputFile, n), unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND, 1, 2)
			p.Sys(unix.SYS_CLOSE, asm.R12)
			p.Sys(unix.SYS_EXECVE, "/"+numbered(programFile, n), argv, envp)
			p.Exit(noExec)
		})
		p.Wait(asm.RAX)
		p.Mov(8, status, asm.RAX)
		open(numbered(statusFile, n), unix.O_WRONLY|unix.O_CREAT)
		p.Sys(unix.SYS_WRITE, asm.R12, program.Label("status"), 4)
		p.Check("write " + statusFile)
		p.Sys(unix.SYS_CLOSE, asm.R12)
	}
	p.Sys(unix.SYS_SYNC)
	powerOff(p)
	return p.Build()
}

// mount mounts what programs expect. What the kernel is not built with, the
// guest lacks.
func mount(p *program.Program) {
	p.Sys(unix.SYS_MOUNT, "proc", "/proc", "proc", 0, 0)
	p.Sys(unix.SYS_MOUNT, "dev", "/dev", "devtmpfs", 0, 0)
}

// powerOff ends the guest.
func powerOff(p *program.Program) {
	p.Sys(unix.SYS_REBOOT, unix.LINUX_REBOOT_MAGIC1, unix.LINUX_REBOOT_MAGIC2, unix.LINUX_REBOOT_CMD_POWER_OFF, 0)
	p.Exit(0)
}
