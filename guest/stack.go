package guest

import (
	"crypto/rand"
	"encoding/binary"

	"goskas/arch"
	"goskas/internal/abi"

	"golang.org/x/sys/unix"
)

// clockTicks is what times(2) counts in (USER_HZ).
const clockTicks = 100

// initialStack is mapped at once; the rest grows.
const initialStack = 128 << 10

// buildStack maps the stack and puts the program's arguments on it, as
// create_elf_tables of Linux's fs/binfmt_elf.c lays them out. It returns the
// initial stack pointer.
func (s *Space) buildStack(p *program, bias, base arch.Addr, argv, envp []string) (arch.Addr, error) {
	k := s.k
	acc := arch.Read | arch.Write
	if p.img.ExecStack {
		acc |= arch.Exec
	}

	// The strings, from the top down: file name, environment, arguments.
	strings := 0
	for _, list := range [][]string{argv, envp, {p.path}} {
		for _, str := range list {
			strings += len(str) + 1
		}
	}
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		return 0, err
	}
	platform := k.arch.UnameMachine() + "\x00"

	// 8 bytes of zeros end the stack, as on Linux.
	top := s.stackTop - 8
	blob := make([]byte, 0, strings)
	at := top - arch.Addr(strings)
	place := func(str string) uint64 {
		addr := uint64(at) + uint64(len(blob))
		blob = append(append(blob, str...), 0)
		return addr
	}
	s.argStart = at
	words := make([]uint64, 0, len(argv)+len(envp)+64)
	words = append(words, uint64(len(argv)))
	for _, str := range argv {
		words = append(words, place(str))
	}
	words = append(words, 0)
	s.argEnd = at + arch.Addr(len(blob))
	for _, str := range envp {
		words = append(words, place(str))
	}
	words = append(words, 0)
	s.envEnd = at + arch.Addr(len(blob))
	auxv := len(words)
	execfn := place(p.path)

	extras := append(append([]byte(nil), random...), platform...)
	extrasAt := (at - arch.Addr(len(extras))) &^ 15
	hwcap, hwcap2 := k.arch.HWCap()
	header := uint64(0)
	if p.img.Header != 0 {
		header = uint64(p.img.Header + bias)
	}
	if s.vdso != 0 {
		words = append(words, abi.AT_SYSINFO_EHDR, uint64(s.vdso))
	}
	words = append(words,
		abi.AT_HWCAP, hwcap,
		abi.AT_PAGESZ, arch.PageSize,
		abi.AT_CLKTCK, clockTicks,
		abi.AT_PHDR, header,
		abi.AT_PHENT, uint64(p.img.HeaderSize),
		abi.AT_PHNUM, uint64(p.img.HeaderCount),
		abi.AT_BASE, uint64(base),
		abi.AT_FLAGS, 0,
		abi.AT_ENTRY, uint64(p.img.Entry+bias),
		abi.AT_UID, 0, abi.AT_EUID, 0, abi.AT_GID, 0, abi.AT_EGID, 0,
		abi.AT_SECURE, 0,
		abi.AT_RANDOM, uint64(extrasAt),
		abi.AT_HWCAP2, hwcap2,
		abi.AT_EXECFN, execfn,
		abi.AT_PLATFORM, uint64(extrasAt)+uint64(len(random)),
		abi.AT_MINSIGSTKSZ, uint64(k.arch.XSize()+1024),
		abi.AT_NULL, 0,
	)
	s.auxv = words[auxv:]
	sp := (extrasAt - arch.Addr(8*len(words))) &^ 15

	low := min((sp - arch.PageSize).PageDown(), s.stackTop-initialStack)
	if uint64(s.stackTop-low) > stackSize {
		return 0, &StartError{Path: p.path, Errno: unix.E2BIG}
	}
	s.vmas.put(&vma{start: low, end: s.stackTop, acc: acc, growsDown: true, name: "[stack]"})

	raw := make([]byte, 0, 8*len(words))
	for _, w := range words {
		raw = binary.LittleEndian.AppendUint64(raw, w)
	}
	for _, part := range []struct {
		at    arch.Addr
		bytes []byte
	}{{sp, raw}, {extrasAt, extras}, {at, blob}} {
		if _, err := s.table().CopyOut(part.at, part.bytes); err != nil {
			return 0, err
		}
	}
	return sp, nil
}
