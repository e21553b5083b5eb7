package strace

import (
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// maxString is how much of a string is shown; maxElems how many elements of an
// array.
const (
	maxString = 32
	maxElems  = 32
	maxName   = 4096
)

var le = binary.LittleEndian

// in makes parameters that are printed at entry.
func in(fs ...format) []param {
	ps := make([]param, len(fs))
	for i, f := range fs {
		ps[i].fmt = f
	}
	return ps
}

// out appends parameters that are printed at exit.
func out(ps []param, fs ...format) []param {
	for _, f := range fs {
		ps = append(ps, param{f, true})
	}
	return ps
}

func dec(s *state, i int) string   { return fmt.Sprint(int32(s.args[i])) }
func dec64(s *state, i int) string { return fmt.Sprint(int64(s.args[i])) }
func size(s *state, i int) string  { return fmt.Sprint(s.args[i]) }
func hex(s *state, i int) string   { return hexText(s.args[i]) }
func octal(s *state, i int) string { return mode(uint32(s.args[i])) }
func ptr(s *state, i int) string   { return pointer(s.args[i]) }

// hexText is a number in hex, 0 for 0.
func hexText(v uint64) string {
	if v == 0 {
		return "0"
	}
	return fmt.Sprintf("%#x", v)
}

func pointer(a uint64) string {
	if a == 0 {
		return "NULL"
	}
	return fmt.Sprintf("%#x", a)
}

// mode is an octal number with its leading zero.
func mode(m uint32) string {
	if m == 0 {
		return "000"
	}
	return fmt.Sprintf("%#03o", m)
}

func dirfd(s *state, i int) string {
	if int32(s.args[i]) == unix.AT_FDCWD {
		return "AT_FDCWD"
	}
	return dec(s, i)
}

// read returns what can be read of n bytes at a.
func (s *state) read(a uint64, n int) []byte {
	p := make([]byte, n)
	return p[:s.mem.ReadMemory(a, p)]
}

// cstring reads a zero-terminated string of at most limit bytes.
func (s *state) cstring(a uint64, limit int) (text []byte, whole, ok bool) {
	for len(text) < limit {
		// Step by step, as the next page need not be there.
		n := min(limit-len(text), 256-int(a&255))
		p := s.read(a, n)
		if i := strings.IndexByte(string(p), 0); i >= 0 {
			return append(text, p[:i]...), true, true
		}
		text = append(text, p...)
		if len(p) < n {
			return nil, false, false
		}
		a += uint64(n)
	}
	return text, false, true
}

// name is a file name, never cut.
func name(s *state, i int) string { return s.quoted(s.args[i], maxName) }

// text is any other string.
func text(s *state, i int) string { return s.quoted(s.args[i], maxString) }

func (s *state) quoted(a uint64, limit int) string {
	if a == 0 {
		return "NULL"
	}
	p, whole, ok := s.cstring(a, limit)
	if !ok {
		return pointer(a)
	}
	if !whole {
		return quote(p) + "..."
	}
	return quote(p)
}

// buffer is bytes at a, n of them, cut.
func (s *state) buffer(a uint64, n uint64) string {
	if a == 0 {
		return "NULL"
	}
	show := int(min(n, maxString))
	p := s.read(a, show)
	if len(p) < show {
		return pointer(a)
	}
	if n > maxString {
		return quote(p) + "..."
	}
	return quote(p)
}

// inBuf is a buffer whose length is the next argument.
func inBuf(s *state, i int) string { return s.buffer(s.args[i], s.args[i+1]) }

// outBuf is a buffer that holds as many bytes as the call returned.
func outBuf(s *state, i int) string {
	if s.failed() {
		return pointer(s.args[i])
	}
	return s.buffer(s.args[i], uint64(s.result))
}

// outHex is outBuf for bytes that are no text.
func outHex(s *state, i int) string {
	if s.failed() {
		return pointer(s.args[i])
	}
	n := min(s.result, maxString)
	p := s.read(s.args[i], int(n))
	if int64(len(p)) < n {
		return pointer(s.args[i])
	}
	var b strings.Builder
	for _, c := range p {
		fmt.Fprintf(&b, `\x%02x`, c)
	}
	if s.result > maxString {
		return `"` + b.String() + `"...`
	}
	return `"` + b.String() + `"`
}

// outString is a buffer with a zero-terminated string, if the call succeeded.
func outString(s *state, i int) string {
	if s.failed() {
		return pointer(s.args[i])
	}
	return s.quoted(s.args[i], maxName)
}

// quote prints bytes as strace does: C escapes, octal for the rest.
func quote(p []byte) string {
	var b strings.Builder
	b.WriteByte('"')
	for i, c := range p {
		switch c {
		case '"', '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case '\n':
			b.WriteString(`\n`)
		case '\t':
			b.WriteString(`\t`)
		case '\r':
			b.WriteString(`\r`)
		case '\v':
			b.WriteString(`\v`)
		case '\f':
			b.WriteString(`\f`)
		default:
			switch {
			case c >= ' ' && c < 0x7f:
				b.WriteByte(c)
			case i+1 < len(p) && p[i+1] >= '0' && p[i+1] <= '9':
				fmt.Fprintf(&b, `\%03o`, c)
			default:
				fmt.Fprintf(&b, `\%o`, c)
			}
		}
	}
	b.WriteByte('"')
	return b.String()
}

// symbol is one bit or value with its name.
type symbol struct {
	v    uint64
	name string
}

// flagText prints v as names joined by |, what is left over in hex. Symbols of
// several bits have to come before their parts.
func flagText(v uint64, syms []symbol, zero string) string {
	if v == 0 {
		return zero
	}
	var names []string
	for _, s := range syms {
		if s.v != 0 && v&s.v == s.v {
			names = append(names, s.name)
			v &^= s.v
		}
	}
	if v != 0 {
		names = append(names, fmt.Sprintf("%#x", v))
	}
	return strings.Join(names, "|")
}

// flags prints an argument with flagText.
func flags(syms []symbol, zero string) format {
	return func(s *state, i int) string { return flagText(uint64(uint32(s.args[i])), syms, zero) }
}

// valueText prints v by its name, or as a number.
func valueText(v uint64, syms []symbol) string {
	for _, s := range syms {
		if s.v == v {
			return s.name
		}
	}
	return fmt.Sprintf("%#x", v)
}

// value prints an argument with valueText.
func value(syms []symbol) format {
	return func(s *state, i int) string { return valueText(uint64(uint32(s.args[i])), syms) }
}

// strings0 is an array of strings that ends with a null pointer.
func strings0(s *state, i int) string {
	a := s.args[i]
	if a == 0 {
		return "NULL"
	}
	var list []string
	for ; ; a += 8 {
		p := s.read(a, 8)
		if len(p) < 8 {
			return pointer(s.args[i])
		}
		at := le.Uint64(p)
		if at == 0 {
			break
		}
		if len(list) == maxElems {
			list = append(list, "...")
			break
		}
		list = append(list, s.quoted(at, maxString))
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// environ is such an array of which only the size is shown.
func environ(s *state, i int) string {
	a := s.args[i]
	if a == 0 {
		return "NULL"
	}
	n := 0
	for ; n < 1<<16; n++ {
		p := s.read(a+8*uint64(n), 8)
		if len(p) < 8 {
			return pointer(a)
		}
		if le.Uint64(p) == 0 {
			break
		}
	}
	return envText(a, n)
}

func envText(a uint64, n int) string {
	plural := "s"
	if n == 1 {
		plural = ""
	}
	return fmt.Sprintf("%#x /* %d var%s */", a, n, plural)
}
