package guest

import (
	"time"

	"golang.org/x/sys/unix"

	"goskas/arch"
)

// schedPolicy is what a thread has asked of the scheduler, which remembers it
// and is fair to all regardless.
type schedPolicy struct {
	policy   int
	prio     int // of SCHED_FIFO and SCHED_RR
	nice     int
	reset    bool   // children start with the defaults
	affinity uint64 // 0: any vCPU
}

// forChild is what a new thread or process starts with.
func (s schedPolicy) forChild() schedPolicy {
	if s.reset {
		s.reset = false
		s.policy, s.prio, s.nice = unix.SCHED_NORMAL, 0, max(s.nice, 0)
	}
	return s
}

// maxRTPrio is the highest priority of SCHED_FIFO and SCHED_RR.
const maxRTPrio = 99

// set changes the policy; priorities are checked as __sched_setscheduler does.
func (s *schedPolicy) set(policy, prio int) unix.Errno {
	reset := policy&unix.SCHED_RESET_ON_FORK != 0
	switch policy &^= unix.SCHED_RESET_ON_FORK; policy {
	case unix.SCHED_NORMAL, unix.SCHED_BATCH, unix.SCHED_IDLE:
		if prio != 0 {
			return unix.EINVAL
		}
	case unix.SCHED_FIFO, unix.SCHED_RR:
		if prio < 1 || prio > maxRTPrio {
			return unix.EINVAL
		}
	default:
		return unix.EINVAL
	}
	s.policy, s.prio, s.reset = policy, prio, reset
	return 0
}

// flags is the policy as sched_getscheduler returns it.
func (s *schedPolicy) flags() int64 {
	if s.reset {
		return int64(s.policy) | unix.SCHED_RESET_ON_FORK
	}
	return int64(s.policy)
}

func sysSchedYield(t *Task, _ args) (int64, unix.Errno) {
	t.yield = true
	return 0, 0
}

// schedTarget is the thread that the first argument of a sched_* call means.
func (t *Task) schedTarget(a args) (*Task, unix.Errno) {
	if a.int(0) < 0 {
		return nil, unix.EINVAL
	}
	target := t.processOf(a.int(0))
	if target == nil {
		return nil, unix.ESRCH
	}
	return target, 0
}

func sysSchedGetscheduler(t *Task, a args) (int64, unix.Errno) {
	target, e := t.schedTarget(a)
	if e != 0 {
		return 0, e
	}
	return target.policy.flags(), 0
}

func sysSchedSetscheduler(t *Task, a args) (int64, unix.Errno) {
	if a[2] == 0 || a.int(1) < 0 {
		return 0, unix.EINVAL
	}
	target, prio, e := t.schedParam(a, 2)
	if e != 0 {
		return 0, e
	}
	return 0, target.policy.set(a.int(1), prio)
}

// schedParam reads the struct sched_param that argument i points to: a priority.
func (t *Task) schedParam(a args, i int) (target *Task, prio int, e unix.Errno) {
	v, e := t.loadU32(a.addr(i))
	if e != 0 {
		return nil, 0, e
	}
	target, e = t.schedTarget(a)
	return target, int(int32(v)), e
}

func sysSchedGetparam(t *Task, a args) (int64, unix.Errno) {
	if a[1] == 0 {
		return 0, unix.EINVAL
	}
	target, e := t.schedTarget(a)
	if e != 0 {
		return 0, e
	}
	return 0, t.storeU32(a.addr(1), uint32(target.policy.prio))
}

func sysSchedSetparam(t *Task, a args) (int64, unix.Errno) {
	if a[1] == 0 {
		return 0, unix.EINVAL
	}
	target, prio, e := t.schedParam(a, 1)
	if e != 0 {
		return 0, e
	}
	return 0, target.policy.set(int(target.policy.flags()), prio)
}

// sysSchedPriority makes sched_get_priority_min and _max.
func sysSchedPriority(ofRealtime int64) handler {
	return func(_ *Task, a args) (int64, unix.Errno) {
		switch a.int(0) {
		case unix.SCHED_FIFO, unix.SCHED_RR:
			return ofRealtime, 0
		case unix.SCHED_NORMAL, unix.SCHED_BATCH, unix.SCHED_IDLE, unix.SCHED_DEADLINE:
			return 0, 0
		}
		return 0, unix.EINVAL
	}
}

func sysSchedRRGetInterval(t *Task, a args) (int64, unix.Errno) {
	target, e := t.schedTarget(a)
	if e != 0 {
		return 0, e
	}
	slice := time.Duration(0)
	switch {
	case target.policy.policy == unix.SCHED_FIFO:
	case t.k.cfg.HZ > 0:
		slice = time.Second / time.Duration(t.k.cfg.HZ)
	}
	sec, nsec := splitTime(slice)
	return 0, t.storeWords(a.addr(1), sec, nsec)
}

// Of struct sched_attr (linux/sched/types.h): the sizes of its two versions, and
// what it consists of.
const (
	schedAttrSize0 = 48
	schedAttrSize1 = 56

	schedAttrOffPolicy = 4
	schedAttrOffFlags  = 8
	schedAttrOffNice   = 16
	schedAttrOffPrio   = 20
)

func sysSchedGetattr(t *Task, a args) (int64, unix.Errno) {
	size := a.u32(2)
	if a[1] == 0 || size < schedAttrSize0 || size > arch.PageSize || a.u32(3) != 0 {
		return 0, unix.EINVAL
	}
	target, e := t.schedTarget(a)
	if e != 0 {
		return 0, e
	}
	var b [schedAttrSize1]byte
	p := &target.policy
	le.PutUint32(b[0:], min(size, schedAttrSize1))
	le.PutUint32(b[schedAttrOffPolicy:], uint32(p.policy))
	if p.reset {
		le.PutUint64(b[schedAttrOffFlags:], unix.SCHED_FLAG_RESET_ON_FORK)
	}
	le.PutUint32(b[schedAttrOffNice:], uint32(p.nice))
	le.PutUint32(b[schedAttrOffPrio:], uint32(p.prio))
	return 0, t.copyOut(a.addr(1), b[:min(size, schedAttrSize1)])
}

func sysSchedSetattr(t *Task, a args) (int64, unix.Errno) {
	if a[1] == 0 || a.u32(2) != 0 {
		return 0, unix.EINVAL
	}
	var b [schedAttrSize0]byte
	if e := t.copyIn(a.addr(1), b[:4]); e != 0 {
		return 0, e
	}
	if size := le.Uint32(b[:]); size != 0 && size < schedAttrSize0 || size > arch.PageSize {
		return 0, unix.E2BIG
	}
	if e := t.copyIn(a.addr(1), b[:]); e != 0 {
		return 0, e
	}
	target, e := t.schedTarget(a)
	if e != 0 {
		return 0, e
	}
	flags := le.Uint64(b[schedAttrOffFlags:])
	if flags&^unix.SCHED_FLAG_RESET_ON_FORK != 0 {
		return 0, unix.EINVAL
	}
	policy := int(int32(le.Uint32(b[schedAttrOffPolicy:])))
	if policy < 0 {
		return 0, unix.EINVAL
	}
	if flags != 0 {
		policy |= unix.SCHED_RESET_ON_FORK
	}
	if e := target.policy.set(policy, int(int32(le.Uint32(b[schedAttrOffPrio:])))); e != 0 {
		return 0, e
	}
	if target.policy.prio == 0 {
		target.policy.nice = clampNice(int(int32(le.Uint32(b[schedAttrOffNice:]))))
	}
	return 0, 0
}

func sysSchedGetaffinity(t *Task, a args) (int64, unix.Errno) {
	if a[1]*8 < uint64(t.k.cfg.CPUs) || a[1]%8 != 0 {
		return 0, unix.EINVAL
	}
	target, e := t.schedTarget(a)
	if e != 0 {
		return 0, e
	}
	mask := t.k.cpuMask()
	if m := target.policy.affinity; m != 0 {
		mask = m
	}
	return 8, t.storeU64(a.addr(2), mask)
}

func (k *Kernel) cpuMask() uint64 { return ^uint64(0) >> (64 - max(1, min(64, k.cfg.CPUs))) }

func sysSchedSetaffinity(t *Task, a args) (int64, unix.Errno) {
	var b [8]byte
	if e := t.copyIn(a.addr(2), b[:min(a[1], 8)]); e != 0 {
		return 0, e
	}
	target, e := t.schedTarget(a)
	if e != 0 {
		return 0, e
	}
	mask := le.Uint64(b[:]) & t.k.cpuMask()
	if mask == 0 {
		return 0, unix.EINVAL
	}
	target.policy.affinity = mask
	return 0, 0
}

func sysGetcpu(t *Task, a args) (int64, unix.Errno) {
	for i, v := range [...]uint32{uint32(t.vcpu), 0} {
		if p := a.addr(i); p != 0 {
			if e := t.storeU32(p, v); e != 0 {
				return 0, e
			}
		}
	}
	return 0, 0
}

// clampNice brings a nice value into range.
func clampNice(n int) int { return max(-20, min(19, n)) }

// eachPrio calls f for the threads that getpriority's arguments mean; EINVAL and
// ESRCH say that there are none.
func (t *Task) eachPrio(a args, f func(*Task)) unix.Errno {
	which, who := a.int(0), a.int(1)
	found := false
	each := func(p *Process) {
		for _, o := range p.threads {
			found = true
			f(o)
		}
	}
	switch which {
	case unix.PRIO_PROCESS:
		if target := t.processOf(who); target != nil {
			found = true
			f(target)
		}
	case unix.PRIO_PGRP:
		if who == 0 {
			who = t.pgid
		}
		for _, p := range t.k.procs {
			if p.pgid == who {
				each(p)
			}
		}
	case unix.PRIO_USER:
		if who == 0 { // root is the only one
			for _, p := range t.k.procs {
				each(p)
			}
		}
	default:
		return unix.EINVAL
	}
	if !found {
		return unix.ESRCH
	}
	return 0
}

func sysGetpriority(t *Task, a args) (int64, unix.Errno) {
	best := 20
	e := t.eachPrio(a, func(o *Task) { best = min(best, o.policy.nice) })
	return int64(20 - best), e
}

func sysSetpriority(t *Task, a args) (int64, unix.Errno) {
	n := clampNice(a.int(2))
	return 0, t.eachPrio(a, func(o *Task) { o.policy.nice = n })
}

// Commands of membarrier(2) (linux/membarrier.h).
const (
	membarrierQuery                    = 0
	membarrierGlobal                   = 1 << 0
	membarrierGlobalExpedited          = 1 << 1
	membarrierRegisterGlobalExpedited  = 1 << 2
	membarrierPrivateExpedited         = 1 << 3
	membarrierRegisterPrivateExpedited = 1 << 4
	membarrierPrivateSyncCore          = 1 << 5
	membarrierRegisterPrivateSyncCore  = 1 << 6
	membarrierAll                      = 1<<7 - 1
)

// sysMembarrier has nothing to do: threads of one memory take turns on one host
// thread, and what goes from one vCPU to another goes through a lock.
func sysMembarrier(t *Task, a args) (int64, unix.Errno) {
	cmd := a.u32(0)
	if a.u32(1) != 0 {
		return 0, unix.EINVAL
	}
	switch cmd {
	case membarrierQuery:
		return membarrierAll, 0
	case membarrierPrivateExpedited, membarrierPrivateSyncCore:
		if t.space.barriers&cmd == 0 {
			return 0, unix.EPERM
		}
		return 0, 0
	case membarrierRegisterPrivateExpedited, membarrierRegisterPrivateSyncCore:
		t.space.barriers |= cmd >> 1
		return 0, 0
	case membarrierGlobal, membarrierGlobalExpedited, membarrierRegisterGlobalExpedited:
		return 0, 0
	}
	return 0, unix.EINVAL
}
