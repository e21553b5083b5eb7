package vfs

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// countFile counts how often it is closed.
type countFile struct {
	NoFile
	closed int
}

func (f *countFile) Close() error        { f.closed++; return nil }
func (f *countFile) Stat() (Stat, error) { return Stat{}, nil }

// Random operations on two tables, one a fork of the other, against maps of
// descriptors; a file is closed once, with its last descriptor.
func TestFDTableAgainstModel(t *testing.T) {
	type fd struct {
		o       *OpenFile
		cloexec bool
	}
	const limit = 20
	for seed := range uint64(5) {
		rnd := rand.New(rand.NewPCG(seed, 6))
		tables := []*FDTable{NewFDTable()}
		tables[0].SetLimit(limit)
		models := []map[int]fd{{}}
		var files []*OpenFile
		lowest := func(m map[int]fd, low int) int {
			for {
				if _, used := m[low]; !used {
					return low
				}
				low++
			}
		}
		for step := range 3000 {
			i := rnd.IntN(len(tables))
			table, m := tables[i], models[i]
			n, to, cloexec := rnd.IntN(limit+4)-2, rnd.IntN(limit+4)-2, rnd.IntN(3) == 0
			have, open := m[n]
			check := func(what string, got int, err error, want int, wantErr error) bool {
				t.Helper()
				if err != wantErr || err == nil && got != want {
					t.Fatalf("%s(%d, %d): %d, %v; want %d, %v", what, n, to, got, err, want, wantErr)
				}
				return err == nil
			}
			switch rnd.IntN(9) {
			case 0, 1:
				o := NewOpenFile(&countFile{}, unix.O_RDWR, nil)
				got, err := table.Install(o, 0, cloexec)
				if want := lowest(m, 0); want >= limit {
					check("install", got, err, 0, unix.EMFILE)
				} else if check("install", got, err, want, nil) {
					m[want] = fd{o, cloexec}
					files = append(files, o)
				}
			case 2:
				got, err := table.Dup(n, to, cloexec)
				switch want := lowest(m, max(to, 0)); {
				case !open:
					check("dup", got, err, 0, unix.EBADF)
				case to < 0 || to >= limit:
					check("dup", got, err, 0, unix.EINVAL)
				case want >= limit:
					check("dup", got, err, 0, unix.EMFILE)
				default:
					check("dup", got, err, want, nil)
					m[want] = fd{have.o, cloexec}
				}
			case 3:
				if n == to {
					continue
				}
				err := table.DupTo(n, to, cloexec)
				if !open || to < 0 || to >= limit {
					check("dup2", 0, err, 0, unix.EBADF)
				} else {
					check("dup2", 0, err, 0, nil)
					m[to] = fd{have.o, cloexec}
				}
			case 4:
				if err := table.Close(n); open {
					check("close", 0, err, 0, nil)
					delete(m, n)
				} else {
					check("close", 0, err, 0, unix.EBADF)
				}
			case 5:
				if err := table.SetCloseOnExec(n, cloexec); open {
					check("cloexec", 0, err, 0, nil)
					m[n] = fd{have.o, cloexec}
				} else {
					check("cloexec", 0, err, 0, unix.EBADF)
				}
			case 6:
				if len(tables) < 3 {
					tables = append(tables, table.Clone())
					c := map[int]fd{}
					for k, v := range m {
						c[k] = v
					}
					models = append(models, c)
				}
			case 7:
				if rnd.IntN(10) == 0 {
					table.CloseExec()
					for k, v := range m {
						if v.cloexec {
							delete(m, k)
						}
					}
				}
			case 8:
				if len(tables) > 1 && rnd.IntN(10) == 0 {
					table.CloseAll()
					tables, models = slices.Delete(tables, i, i+1), slices.Delete(models, i, i+1)
				}
			}
			if step%8 != 0 {
				continue
			}
			for i, m := range models {
				var want []int
				for k, v := range m {
					want = append(want, k)
					if o, err := tables[i].Get(k); o != v.o || err != nil {
						t.Fatalf("descriptor %d is another file (%v)", k, err)
					}
					if on, err := tables[i].CloseOnExec(k); on != v.cloexec || err != nil {
						t.Fatalf("descriptor %d: close on exec %v, %v", k, on, err)
					}
				}
				slices.Sort(want)
				if diff := cmp.Diff(want, tables[i].Open()); diff != "" {
					t.Fatal(diff)
				}
			}
			if step%80 != 0 {
				continue
			}
			for _, o := range files {
				held := 0
				for _, m := range models {
					for _, v := range m {
						if v.o == o {
							held++
						}
					}
				}
				want := 0
				if held == 0 {
					want = 1
				}
				if got := o.File.(*countFile).closed; got != want {
					t.Fatalf("file with %d descriptors was closed %d times", held, got)
				}
			}
		}
	}
}

// With a limit of no descriptors an open once failed as an invalid argument.
func TestNoDescriptorsAtAll(t *testing.T) {
	table := NewFDTable()
	table.SetLimit(0)
	if _, err := table.Install(NewOpenFile(&countFile{}, 0, nil), 0, false); err != unix.EMFILE {
		t.Errorf("error %v", err)
	}
}
