package containment

import (
	"sync"

	"goskas/arch"
	"goskas/arch/amd64/asm"
)

// stateCases misuse the CPU's state, and come in twos.
func stateCases() []Case {
	foreignRead := func(c *code) {
		c.obtain()
		c.attempt()
		c.mmap(holeAt, arch.PageSize, protR, uint64(c.s.victim.secretFrame()))
		c.peek(holeAt)
		c.done()
	}
	return []Case{
		{
			Name: "odd-state", Promise: "P5", Want: everywhere(Denied),
			About: "makes calls with the direction and alignment flags set, all SSE exceptions unmasked and no data segments",
			emit: func(c *code) {
				c.attempt()
				for range 5 {
					c.oddState()
					c.call(nrMore)
				}
				c.done()
			},
		},
		{
			Name: "odd-state-map", Promise: "P1", Want: hijacked,
			About: "enters the stub's mmap in that state, with a frame of another process",
			needs: []string{siteMmap},
			emit: func(c *code) {
				c.obtain()
				c.attempt()
				c.oddState()
				c.mmap(holeAt, arch.PageSize, protR, uint64(c.s.victim.secretFrame()))
				c.peek(holeAt)
				c.done()
			},
		},
		{
			Name: "two-at-once", Promise: "P5", Want: hijacked,
			About: "two processes on two vCPUs enter the stub's mmap at once, with frames of a third",
			needs: []string{siteMmap}, emit: foreignRead,
			play: func(c *Case, s *stage, o *offender) error {
				other, err := s.newOffender(c)
				if err != nil {
					return err
				}
				var second sync.WaitGroup
				var otherErr error
				second.Go(func() {
					v, err := s.mon.NewVCPU(1)
					if err != nil {
						otherErr = err
						return
					}
					defer v.Close()
					otherErr = other.run(c, v)
				})
				err = o.run(c, s.vcpu)
				second.Wait()
				if err == nil {
					err = otherErr
				}
				return err
			},
		},
	}
}

// Flags of the flags register (Intel SDM volume 1, chapter 3.4.3).
const (
	flagDirection = 1 << 10
	flagAlignment = 1 << 18
)

// oddState leaves the CPU in a state that no compiler makes.
func (c *code) oddState() {
	c.Mov(8, asm.RSP, num(stackTop))
	c.Mov(8, asm.RBX, num(resultAt))
	c.Mov(4, asm.Ptr(asm.RBX, 32), asm.Imm(0))
	c.Bytes([]byte{0x0f, 0xae, 0x53, 0x20}) // ldmxcsr [rbx+32]
	c.Mov(4, asm.RAX, asm.Imm(0))
	c.Bytes([]byte{0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xe0, 0x8e, 0xe8}) // ds, es, fs, gs
	c.setFlags(flagDirection | flagAlignment)
}
