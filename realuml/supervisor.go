package realuml

import (
	"goskas/arch/amd64/asm"
	"goskas/program"

	"golang.org/x/sys/unix"
)

// Files in the guest's root by which the supervisor and Boot talk.
const (
	programFile = "program"
	inputFile   = "input"
	outputFile  = "output"
	statusFile  = "status"
)

// noExec is the status of a program that could not be executed; a shell's.
const noExec = 126

// supervisor assembles the init that runs the program as its child: input and
// output are files, so that nothing of the kernel's console is in them, and the
// wait status goes to a third one.
func supervisor(args, env []string) ([]byte, error) {
	p := program.New()
	// What the kernel is not built with, the guest lacks.
	p.Sys(unix.SYS_MOUNT, "proc", "/proc", "proc", 0, 0)
	p.Sys(unix.SYS_MOUNT, "dev", "/dev", "devtmpfs", 0, 0)

	redirect := func(name string, flags int, fds ...int) {
		p.Sys(unix.SYS_OPEN, "/"+name, flags, 0o644)
		p.Check("open " + name)
		p.Mov(8, asm.R12, asm.RAX)
		for _, fd := range fds {
			p.Sys(unix.SYS_DUP2, asm.R12, fd)
			p.Check("dup2")
		}
		p.Sys(unix.SYS_CLOSE, asm.R12)
	}
	p.Fork(func() {
		redirect(inputFile, unix.O_RDONLY, 0)
		redirect(outputFile, unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND, 1, 2)
		p.Sys(unix.SYS_EXECVE, "/"+programFile, p.Vector(args...), p.Vector(env...))
		p.Exit(noExec)
	})
	p.Wait(asm.RAX)
	p.Mov(8, p.Word("status"), asm.RAX)
	p.Sys(unix.SYS_OPEN, "/"+statusFile, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, 0o644)
	p.Check("open " + statusFile)
	p.Mov(8, asm.R12, asm.RAX)
	p.Sys(unix.SYS_WRITE, asm.R12, program.Label("status"), 4)
	p.Check("write " + statusFile)
	p.Sys(unix.SYS_FSYNC, asm.R12)
	p.Sys(unix.SYS_SYNC)
	powerOff(p)
	return p.Build()
}

// powerOff ends the guest.
func powerOff(p *program.Program) {
	p.Sys(unix.SYS_REBOOT, unix.LINUX_REBOOT_MAGIC1, unix.LINUX_REBOOT_MAGIC2, unix.LINUX_REBOOT_CMD_POWER_OFF, 0)
	p.Exit(0)
}
