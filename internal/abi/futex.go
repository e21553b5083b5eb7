package abi

// Operations of futex(2) and their flags (linux/futex.h).
const (
	FUTEX_WAIT             = 0
	FUTEX_WAKE             = 1
	FUTEX_REQUEUE          = 3
	FUTEX_CMP_REQUEUE      = 4
	FUTEX_WAKE_OP          = 5
	FUTEX_WAIT_BITSET      = 9
	FUTEX_WAKE_BITSET      = 10
	FUTEX_PRIVATE_FLAG     = 128
	FUTEX_CLOCK_REALTIME   = 256
	FUTEX_BITSET_MATCH_ANY = 0xffffffff
)

// What FUTEX_WAKE_OP does to a word and asks of its old value (linux/futex.h).
const (
	FUTEX_OP_SET    = 0
	FUTEX_OP_CMP_LT = 2
)
