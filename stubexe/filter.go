package stubexe

import (
	"golang.org/x/sys/unix"
	"goskas/arch"
)

func Filter(code arch.Addr, audit uint32) ([]unix.SockFilter, error) {
	ld := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: 0x20, K: k} }
	jeq := func(k uint32, t, f uint8) unix.SockFilter { return unix.SockFilter{Code: 0x15, Jt: t, Jf: f, K: k} }
	ret := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: 6, K: k} }
	return []unix.SockFilter{ld(12), jeq(uint32(code>>32), 0, 3), ld(8), {Code: 0x54, K: 0xfffff000}, jeq(uint32(code)&0xfffff000, 1, 0), ret(0x30000), ld(4), jeq(audit, 1, 0), ret(0x80000000), ld(0),
		jeq(202, 7, 0), jeq(47, 6, 0), jeq(3, 5, 0), jeq(9, 4, 0), jeq(11, 3, 0), jeq(158, 2, 0), jeq(15, 1, 0), ret(0x80000000), ret(0x7fff0000)}, nil
}

// FilterText is the filter for people.
func FilterText(code arch.Addr, audit uint32) (string, error) { return "", nil }
