package mm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"goskas/arch"
	"goskas/physmem"
)

// Fault is an access to guest memory that the address space does not allow.
type Fault struct {
	Addr   arch.Addr
	Access arch.Access
}

func (f *Fault) Error() string {
	return fmt.Sprintf("guest fault at %#x (%v)", uint64(f.Addr), f.Access)
}

// ErrTooLong says that a string has no end within the limit.
var ErrTooLong = errors.New("string too long")

// page returns the bytes of a's page from a on, after paging it in if need be.
// They stay valid at least as long as the caller keeps the guest from changing
// this address space.
func (t *Table) page(a arch.Addr, acc arch.Access) ([]byte, error) {
	for try := 0; ; try++ {
		t.mu.Lock()
		if a < t.end {
			if p := t.lookup(a); p != nil && p.Present() && acc&^p.Access() == 0 &&
				(acc&arch.Write == 0 || !p.COW()) {
				b := t.mem.Bytes(p.PFN())[a.PageOffset():]
				t.mu.Unlock()
				return b, nil
			}
		}
		pager := t.pager
		t.mu.Unlock()
		if pager == nil || try > 0 || a >= t.end {
			return nil, &Fault{Addr: a, Access: acc}
		}
		if err := pager.PageIn(a, acc); err != nil {
			return nil, err
		}
	}
}

// CopyIn reads guest memory. On an error n bytes have been read.
func (t *Table) CopyIn(dst []byte, a arch.Addr) (n int, err error) {
	for n < len(dst) {
		b, err := t.page(a+arch.Addr(n), arch.Read)
		if err != nil {
			return n, err
		}
		n += copy(dst[n:], b)
	}
	return n, nil
}

// CopyOut writes guest memory. On an error n bytes have been written.
func (t *Table) CopyOut(a arch.Addr, src []byte) (n int, err error) {
	for n < len(src) {
		b, err := t.page(a+arch.Addr(n), arch.Write)
		if err != nil {
			return n, err
		}
		n += copy(b, src[n:])
	}
	return n, nil
}

// ReadString reads a string that ends with a zero byte, of at most limit bytes
// without it; ErrTooLong otherwise.
func (t *Table) ReadString(a arch.Addr, limit int) (string, error) {
	var s []byte
	for {
		b, err := t.page(a+arch.Addr(len(s)), arch.Read)
		if err != nil {
			return "", err
		}
		if end := bytes.IndexByte(b, 0); end >= 0 && len(s)+end <= limit {
			return string(append(s, b[:end]...)), nil
		}
		if len(s)+len(b) > limit {
			return "", ErrTooLong
		}
		s = append(s, b...)
	}
}

// LoadUint32 reads a little-endian word, once.
func (t *Table) LoadUint32(a arch.Addr) (uint32, error) {
	var b [4]byte
	_, err := t.CopyIn(b[:], a)
	return binary.LittleEndian.Uint32(b[:]), err
}

// LoadUint64 is LoadUint32 for 64 bits.
func (t *Table) LoadUint64(a arch.Addr) (uint64, error) {
	var b [8]byte
	_, err := t.CopyIn(b[:], a)
	return binary.LittleEndian.Uint64(b[:]), err
}

// StoreUint32 writes a little-endian word.
func (t *Table) StoreUint32(a arch.Addr, v uint32) error {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], v)
	_, err := t.CopyOut(a, b[:])
	return err
}

// CompareAndSwapUint32 replaces the word at a, a multiple of 4, if it is old,
// while guest code on other CPUs may change it. With old and new the same it
// only says whether the word could be written and is old.
func (t *Table) CompareAndSwapUint32(a arch.Addr, old, new uint32) (swapped bool, err error) {
	b, err := t.page(a, arch.Write)
	if err != nil {
		return false, err
	}
	return physmem.CompareAndSwap(b, old, new), nil
}

// StoreUint64 is StoreUint32 for 64 bits.
func (t *Table) StoreUint64(a arch.Addr, v uint64) error {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], v)
	_, err := t.CopyOut(a, b[:])
	return err
}
