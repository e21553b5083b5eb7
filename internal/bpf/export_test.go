package bpf

// For the tests that import internal/testkit, which imports this package.
const (
	ClassMask    = classMask
	OpMask       = opMask
	DataSize     = dataSize
	ScratchWords = scratchWords
)

var (
	Known  = known
	WordOf = (*Data).word
)
