package amd64

import (
	"bytes"
	"debug/elf"

	"goskas/arch"
)

// Names that C libraries and the Go runtime look for.
const (
	vdsoName    = "linux-vdso.so.1"
	vdsoVersion = "LINUX_2.6"
)

// Of symbol versions (elf.h): indices, the flag of an object's own name, and
// sizes.
const (
	versionBase    = 1
	versionSymbols = 2
	verFlagBase    = 1
	verdefSize     = 20
	verdauxSize    = 8
)

// sysvHash is the hash of DT_HASH and of version names (System V ABI, figure
// 5-13).
func sysvHash(name string) (h uint32) {
	for i := range len(name) {
		h = h<<4 + uint32(name[i])
		h ^= h >> 24 & 0xf0
		h &= 0x0fffffff
	}
	return h
}

// vdsoImage makes everything of the shared object but its code: it is linked at
// address 0, has no sections, and its tables lie behind the headers.
func vdsoImage(symbols []vdsoSymbol) []byte {
	names := bytes.NewBuffer([]byte{0})
	name := func(s string) uint32 {
		at := names.Len()
		names.WriteString(s + "\x00")
		return uint32(at)
	}
	soname, version := name(vdsoName), name(vdsoVersion)

	var dynsym, versym, hash, verdef bytes.Buffer
	put(&dynsym, elf.Sym64{})
	put(&versym, uint16(0))
	for _, s := range symbols {
		bind := elf.STB_GLOBAL
		if s.weak {
			bind = elf.STB_WEAK
		}
		// There are no sections; that the symbol has one says that it is
		// defined.
		put(&dynsym, elf.Sym64{Name: name(s.name), Info: elf.ST_INFO(bind, elf.STT_FUNC), Shndx: 1, Value: s.at, Size: s.size})
		put(&versym, uint16(versionSymbols))
	}
	// One bucket: a chain of all symbols.
	n := uint32(len(symbols) + 1)
	put(&hash, uint32(1), n, uint32(1), uint32(0))
	for i := uint32(1); i < n; i++ {
		put(&hash, (i+1)%n)
	}
	for i, v := range []struct {
		flags, index uint16
		name         string
		at           uint32
	}{{verFlagBase, versionBase, vdsoName, soname}, {0, versionSymbols, vdsoVersion, version}} {
		next := uint32(verdefSize + verdauxSize)
		if i == 1 {
			next = 0
		}
		put(&verdef, uint16(1), v.flags, v.index, uint16(1), sysvHash(v.name), uint32(verdefSize), next, v.at, uint32(0))
	}

	const headerSize, progSize, progs = 64, 56, 2
	var body bytes.Buffer
	place := func(b *bytes.Buffer) uint64 {
		for body.Len()%8 != 0 {
			body.WriteByte(0)
		}
		at := headerSize + progs*progSize + body.Len()
		body.Write(b.Bytes())
		return uint64(at)
	}
	dynamic := []elf.Dyn64{
		{Tag: int64(elf.DT_SONAME), Val: uint64(soname)},
		{Tag: int64(elf.DT_HASH), Val: place(&hash)},
		{Tag: int64(elf.DT_STRTAB), Val: place(names)},
		{Tag: int64(elf.DT_SYMTAB), Val: place(&dynsym)},
		{Tag: int64(elf.DT_STRSZ), Val: uint64(names.Len())},
		{Tag: int64(elf.DT_SYMENT), Val: elf.Sym64Size},
		{Tag: int64(elf.DT_VERSYM), Val: place(&versym)},
		{Tag: int64(elf.DT_VERDEF), Val: place(&verdef)},
		{Tag: int64(elf.DT_VERDEFNUM), Val: 2},
		{Tag: int64(elf.DT_NULL)},
	}
	var dyn bytes.Buffer
	put(&dyn, dynamic)
	dynAt := place(&dyn)

	header := elf.Header64{
		Type: uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Phoff: headerSize, Ehsize: headerSize, Phentsize: progSize, Phnum: progs, Shentsize: 64,
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS], header.Ident[elf.EI_DATA] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB)
	header.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)
	whole := uint64(arch.PageSize * arch.VDSOPages)
	var out bytes.Buffer
	put(&out, header,
		elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Filesz: whole, Memsz: whole, Align: arch.PageSize},
		elf.Prog64{Type: uint32(elf.PT_DYNAMIC), Flags: uint32(elf.PF_R), Off: dynAt, Vaddr: dynAt, Paddr: dynAt,
			Filesz: uint64(dyn.Len()), Memsz: uint64(dyn.Len()), Align: 8})
	out.Write(body.Bytes())
	return out.Bytes()
}
