package timer

import (
	"os"
	"strings"
)

// Source is what the host's clocks run on, by the kernel's name: "tsc" for
// instance.
func Source() (string, error) {
	b, err := os.ReadFile("/sys/devices/system/clocksource/clocksource0/current_clocksource")
	return strings.TrimSpace(string(b)), err
}
