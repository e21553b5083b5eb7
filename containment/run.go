package containment

import (
	"fmt"
	"io"
	"strings"
	"time"

	"goskas/arch/amd64"
	"goskas/guard"
	"goskas/skas"
)

// Options choose what to run.
type Options struct {
	Guards []guard.Guard
	Stall  skas.Stall
	// Match picks cases by name; nil runs all.
	Match func(name string) bool
	// Trace gets the offenders' events; nil for none.
	Trace io.Writer
	// Progress is told each result as it comes.
	Progress func(Result)
}

// Result is the outcome of one case under one guard.
type Result struct {
	Case    string  `json:"case"`
	Promise string  `json:"promise"`
	Guard   string  `json:"guard"`
	Verdict Verdict `json:"verdict"`
	Want    Verdict `json:"want"`
	// Why is what the verdict rests on.
	Why     string        `json:"why"`
	Events  int           `json:"events"`
	Elapsed time.Duration `json:"elapsed_ns"`
	// Err says that there is no verdict, or that something was left behind.
	Err string `json:"error,omitempty"`
}

// OK reports whether the outcome is the expected one.
func (r Result) OK() bool { return r.Err == "" && r.Want.accepts(r.Verdict) }

// Run runs cases under guards, one after the other.
func Run(o Options) *Matrix {
	m := &Matrix{}
	for _, g := range o.Guards {
		m.Guards = append(m.Guards, g.String())
	}
	for _, c := range Cases() {
		if o.Match != nil && !o.Match(c.Name) {
			continue
		}
		m.cases = append(m.cases, c)
		for _, g := range o.Guards {
			r := c.Run(g, o)
			m.Results = append(m.Results, r)
			if o.Progress != nil {
				o.Progress(r)
			}
		}
	}
	return m
}

// Run runs one case on a stage of its own.
func (c *Case) Run(g guard.Guard, o Options) Result {
	r := Result{Case: c.Name, Promise: c.Promise, Guard: g.String(), Want: c.Want.Under(g)}
	start := time.Now()
	done := make(chan struct{})
	go func() { // its thread becomes a vCPU
		defer close(done)
		before, err := descriptors()
		if err == nil {
			err = c.runOn(g, o, &r)
		}
		if err == nil {
			var after int
			if after, err = descriptors(); err == nil && after > before {
				err = fmt.Errorf("%d descriptors are left", after-before)
			}
		}
		if err != nil {
			r.Err = err.Error()
		}
	}()
	<-done
	r.Elapsed = time.Since(start)
	return r
}

func (c *Case) runOn(g guard.Guard, opt Options, r *Result) (err error) {
	p, err := newProtocol(amd64.New(), g)
	if err != nil {
		return err
	}
	for _, site := range c.needs {
		if why, missing := p.missing[site]; missing {
			r.Verdict, r.Why = Skipped, why
			return nil
		}
	}
	s, err := newStage(setting{guard: g, stall: opt.Stall, hz: c.hz, memory: c.memory})
	if err != nil {
		return err
	}
	s.tracing = opt.Trace
	defer func() {
		if cerr := s.close(); err == nil {
			err = cerr
		}
	}()
	return c.on(s, r)
}

// on runs the case on a stage that has been set.
func (c *Case) on(s *stage, r *Result) error {
	if err := s.plant(); err != nil {
		return err
	}
	o, err := s.newOffender(c)
	if err != nil {
		return err
	}
	if c.play != nil {
		err = c.play(c, s, o)
	} else {
		err = o.run(c, s.vcpu)
	}
	if err != nil {
		return err
	}
	s.hear()
	s.judge(r)
	return nil
}

// judge gives the verdict.
func (s *stage) judge(r *Result) {
	var tried bool
	var whys []string
	for _, o := range s.offenders {
		tried = tried || o.attempted
		r.Events += o.events
		whys = append(whys, o.story())
	}
	r.Why = strings.Join(whys, "; ")
	switch {
	case len(s.breaches) > 0:
		r.Verdict, r.Why = Breached, strings.Join(s.breaches, "; ")
	case !tried:
		r.Err = "the program never came to its attempt: " + r.Why
	case s.offenders[0].dead != nil:
		r.Verdict = Killed
	default:
		r.Verdict = Denied
	}
}

// story says how an offender ended.
func (o *offender) story() string {
	switch {
	case o.dead != nil:
		return strings.TrimSuffix(o.dead.Error(), ": "+skas.ErrStubDead.Error())
	case o.done:
		return fmt.Sprintf("its program ended after %d events", o.events)
	}
	return fmt.Sprintf("it was stopped after %d events", o.events)
}
