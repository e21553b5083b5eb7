package guest

import (
	"testing"

	"golang.org/x/sys/unix"

	"goskas/internal/abi"
)

func TestRebootEndsTheMachine(t *testing.T) {
	const good = unix.LINUX_REBOOT_MAGIC2
	for _, c := range []struct {
		name           string
		magic, another uint64
		cmd            uint64
		want           unix.Errno
	}{
		{"bad magic", 1, good, unix.LINUX_REBOOT_CMD_POWER_OFF, unix.EINVAL},
		{"another bad magic", unix.LINUX_REBOOT_MAGIC1, 1, unix.LINUX_REBOOT_CMD_POWER_OFF, unix.EINVAL},
		{"no such command", unix.LINUX_REBOOT_MAGIC1, good, 1, unix.EINVAL},
		{"a restart", unix.LINUX_REBOOT_MAGIC1, good, unix.LINUX_REBOOT_CMD_RESTART, unix.EINVAL},
		{"keys", unix.LINUX_REBOOT_MAGIC1, good, unix.LINUX_REBOOT_CMD_CAD_OFF, 0},
		{"power off", unix.LINUX_REBOOT_MAGIC1, good, unix.LINUX_REBOOT_CMD_POWER_OFF, errNeverReturns},
		{"halt", unix.LINUX_REBOOT_MAGIC1, abi.LINUX_REBOOT_MAGIC2B, unix.LINUX_REBOOT_CMD_HALT, errNeverReturns},
	} {
		k, _ := newBareKernel(t, 1<<20)
		newBareTask(t, k)
		task := newBareTask(t, k)
		if _, e := sysReboot(task, args{c.magic, c.another, c.cmd}); e != c.want {
			t.Errorf("%s: %v, want %v", c.name, e, c.want)
		}
		if ends := c.want == errNeverReturns; k.stopping != ends {
			t.Errorf("%s: the machine stops: %v", c.name, k.stopping)
		}
	}
}
