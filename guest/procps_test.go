package guest_test

import (
	"strings"
	"testing"

	"goskas/guest"
	"goskas/internal/testkit"
)

// The tools of procps read /proc, and believe it.
func TestGuestProcps(t *testing.T) {
	testkit.NoLeaks(t)
	for _, c := range []struct {
		name, script string
		want         []string
	}{
		{"ps", `/bin/sleep 100 & /bin/ps -e -o pid,ppid,stat,tty,nlwp,args; /bin/ps aux >/tmp/ps; wc -l </tmp/ps`, []string{"  1     0 ", "/bin/sleep 100", "\n4\n"}},
		{"top", `TERM=dumb /usr/bin/top -b -n 1 | head -20`, []string{"Tasks:", "%Cpu(s):", "MiB Mem :", "COMMAND"}},
		{"free", `/usr/bin/free -k`, []string{"262144"}},
		{"uptime", `/usr/bin/uptime`, []string{"load average:"}},
		{"pgrep", `/bin/sleep 100 & until /usr/bin/pgrep -x sleep >/dev/null; do :; done; /usr/bin/pgrep -x sleep | wc -l; /usr/bin/pkill -x sleep; wait; echo done`, []string{"1\n", "done"}},
		{"vmstat", `/usr/bin/vmstat`, []string{"procs", "swpd"}},
		{"nproc", `nproc`, []string{"2\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := sh(t, guest.Config{CPUs: 2, Memory: 256 << 20}, c.script, "")
			for _, w := range c.want {
				if !strings.Contains(got.Out, w) {
					t.Errorf("no %q in what it says:\n%s", w, got.Out)
				}
			}
			if got.Status != 0 {
				t.Errorf("status %d:\n%s", got.Status, got.Out)
			}
		})
	}
}
