package abi

// Codes of arch_prctl(2) (asm/prctl.h).
const (
	ARCH_SET_GS = 0x1001
	ARCH_SET_FS = 0x1002
	ARCH_GET_FS = 0x1003
	ARCH_GET_GS = 0x1004
)

// Keys of the auxiliary vector (linux/auxvec.h).
const (
	AT_NULL         = 0
	AT_PHDR         = 3
	AT_PHENT        = 4
	AT_PHNUM        = 5
	AT_PAGESZ       = 6
	AT_BASE         = 7
	AT_FLAGS        = 8
	AT_ENTRY        = 9
	AT_UID          = 11
	AT_EUID         = 12
	AT_GID          = 13
	AT_EGID         = 14
	AT_PLATFORM     = 15
	AT_HWCAP        = 16
	AT_CLKTCK       = 17
	AT_SECURE       = 23
	AT_RANDOM       = 25
	AT_HWCAP2       = 26
	AT_EXECFN       = 31
	AT_SYSINFO_EHDR = 33
	AT_MINSIGSTKSZ  = 51 // size of the largest signal frame; Linux 5.14
)

// HWCAP2_FSGSBASE is the bit of AT_HWCAP2 that says that user code may set its
// fs and gs bases itself (asm/hwcap2.h; Linux 5.9).
const HWCAP2_FSGSBASE = 1 << 1

// Second magic numbers of reboot(2), besides LINUX_REBOOT_MAGIC2
// (linux/reboot.h).
const (
	LINUX_REBOOT_MAGIC2A = 85072278
	LINUX_REBOOT_MAGIC2B = 369367448
	LINUX_REBOOT_MAGIC2C = 537993216
)
