package bench

import (
	"bytes"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Report is a run: the host, and the results for each placement.
type Report struct {
	Host       Host        `json:"host"`
	Clock      Clock       `json:"clock"`
	Placements []Placement `json:"placements"`
}

// Host is where a run took place.
type Host struct {
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"` // that this process may use
	Kernel string `json:"kernel"`
}

// Placement is a run of the plan with everything on one CPU, or without that.
// A vCPU and its stub share a CPU in any case.
type Placement struct {
	Pinned  bool     `json:"pinned"`
	CPU     int      `json:"cpu"` // of a pinned run; -1 otherwise
	Repeats int      `json:"repeats"`
	Results []Result `json:"results"`
	// Yardstick is how many times the futex ping-pong a getppid takes, by
	// machine; empty if the two have not been measured.
	Yardstick []Yardstick `json:"yardstick,omitempty"`
	// Contest is one variant against another, operation by operation; empty
	// if there was none.
	Contest []Contest `json:"contest,omitempty"`
}

// YardstickLimit is what Yardstick.Ratio may be at most.
const YardstickLimit = 2.1

// Yardstick compares a guest system call with the native futex ping-pong of
// the same repeat.
type Yardstick struct {
	Variant string `json:"variant"`
	Ratio   Figure `json:"ratio"`
}

// ThisHost describes the host.
func ThisHost() (Host, error) {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return Host{}, fmt.Errorf("describe the host: %w", err)
	}
	var uts unix.Utsname
	var set unix.CPUSet
	if err := unix.Uname(&uts); err != nil {
		return Host{}, fmt.Errorf("describe the host: %w", err)
	}
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return Host{}, fmt.Errorf("describe the host: %w", err)
	}
	return Host{
		CPU:    cpuinfo(info, "model name"),
		CPUs:   set.Count(),
		Kernel: unix.ByteSliceToString(uts.Sysname[:]) + " " + unix.ByteSliceToString(uts.Release[:]),
	}, nil
}

// cpuinfo is the first value of a key in /proc/cpuinfo; "" if there is none.
func cpuinfo(info []byte, key string) string {
	for line := range bytes.Lines(info) {
		k, v, _ := bytes.Cut(line, []byte(":"))
		if string(bytes.TrimSpace(k)) == key {
			return string(bytes.TrimSpace(v))
		}
	}
	return ""
}

// NewPlacement sums up what a run of a plan gave.
func NewPlacement(results []Result, repeats int) Placement {
	p := Placement{Repeats: repeats, Results: results}
	var futex, getppid *Result
	for i := range results {
		switch results[i].Row {
		case Futex:
			futex = &results[i]
		case Getppid:
			getppid = &results[i]
		}
	}
	if futex == nil || getppid == nil {
		return p
	}
	base := futex.On[0]
	for _, v := range getppid.On {
		if v.Variant != base.Variant {
			p.Yardstick = append(p.Yardstick, Yardstick{v.Variant, ratio(v.repeats, base.repeats)})
		}
	}
	return p
}
