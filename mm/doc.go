// Package mm is a guest address space's page table: 4 levels, an entry a page,
// with what the guest may do (rights), what the host may grant (rights less
// what young, dirty and copy-on-write hold back), and whether the two agree
// (needsync).
//
// One turn: a page fault makes the guest Map a frame; the entry is marked
// needsync and joins the one dirty range; before the stub resumes, Sync walks
// that range and hands a Mapper one call per page, which the queue merges. The
// monitor's own accesses (CopyIn, CopyOut) go through the same entries, page by
// page, and ask the Pager for what is missing: they end in a Fault, never in a
// crash.
//
// Where a host must not be believed (guard sealed), frames that the address
// space loses wait in limbo until it is proved that the host has no mapping of
// them left: Proved says that it has run what the last Sync asked for, and a Sync
// that repeats what earlier ones took away makes that a proof for those as well.
//
// The table owns a reference to each frame that it maps. It knows nothing of
// stubs, of what a page is for, or of who else shares a frame. Its lock is
// not held while a Mapper or a Pager runs.
package mm
