// Package physmem is the guest's physical memory: one memfd, sealed against
// resizing, cut into frames with reference counts. Stubs map frames from it;
// the monitor sees all of them in one linear view.
//
// One turn: Alloc hands out a frame of zeros; a page table takes the reference
// and gives the stub a mapping at PhysMapping's offset; copy-on-write adds a
// reference with Ref; Unref drops one, and the last puts the frame on the free
// list, from where it is cleared before anyone gets it again. Frames that were
// never used are zero already, and are not touched.
//
// The pages of stubs lie in such a memory, too: in the guest's own under UML's
// protocol, which is the hole that guard none mirrors, and in one apart, which
// guests never see, under guard sealed.
//
// It knows frames and bytes, no guest addresses. All methods may be called from
// any goroutine. What guest code does to a frame while the monitor reads it is
// the reader's problem: copy, then check.
package physmem
