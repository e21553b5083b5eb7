package guest_test

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"goskas/guest"

	"golang.org/x/sys/unix"
)

// Out of memory, a call fails with ENOMEM or the process is killed with a
// message; either way the machine goes on, and everything comes back.
func TestGuestOutOfMemory(t *testing.T) {
	killed := 128 + int(unix.SIGKILL)
	for _, c := range []struct {
		name, script string
		status       []int // one of these
		want         string
	}{
		{"a large allocation", `dd if=/dev/zero of=/dev/null bs=64M count=1 2>&1; echo $?`, []int{0}, "dd: out of memory\n1\n"},
		{"a shell variable", `x=$(yes | head -c 100000000); echo not reached`, []int{1}, "sh: out of memory\n"},
		{"pages touched", `exec busybox sort /dev/zero`, []int{killed, 1}, ""},
		{"pages of a child", `busybox sh -c 'seq 3000000 | sort' >/dev/null 2>&1; echo $?`, []int{0}, "137\n"},
		{"files", `dd if=/dev/zero of=/tmp/x bs=1M count=64 2>&1 | head -1; rm /tmp/x; echo again >/tmp/x && cat /tmp/x`,
			[]int{0}, "dd: error writing '/tmp/x': No space left on device\nagain\n"},
		// Whoever asks for the page that is not there is hit: one of these,
		// or their parent, which may also be refused a child, or find no
		// room for the signal frame that a child's end is told with.
		{"processes", `fill() { x=$(seq 20000); busybox sleep 1; }
			for i in $(seq 60); do fill & done 2>/dev/null; wait`, []int{0, 2, killed, 128 + int(unix.SIGSEGV)}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log bytes.Buffer
			m := boot(t, guest.Config{Memory: 6 << 20, CPUs: 2, Log: slog.New(slog.NewTextHandler(&log, nil))})
			var status int
			m.calm(t, func() { status = m.sh(t, c.script) })
			if again := m.sh(t, `test "$(seq 100 | tail -1)" = 100 && exit 7`); again != 7 {
				t.Errorf("afterwards: status %d", again)
			}
			out := m.out()
			if !slices.Contains(c.status, status) || c.want != "" && out != c.want {
				t.Errorf("status %d, output %q; want %d, %q", status, out, c.status, c.want)
			}
			if (status == killed || c.want == "137\n") && !strings.Contains(log.String(), "out of guest memory") {
				t.Errorf("killed without a message: %q", log.String())
			}
		})
	}
}
