package realuml

import (
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"goskas/internal/sys"
)

// kernelPath is the executable in its package.
const kernelPath = "usr/bin/linux.uml"

// install gathers the kernel and the libraries that it needs in one directory.
//
// The system's C library may be too old for this executable. It cannot simply
// be run by its own loader (ld.so PROGRAM): UML puts its memory behind its own
// break, and executes itself again by /proc/self/exe; both would then be the
// loader's. So the copy's program interpreter is changed to the loader that
// lies beside it.
func install(root, dir string) error {
	libs, err := libraries(root)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	image, err := os.ReadFile(filepath.Join(root, kernelPath))
	if err != nil {
		return err
	}
	needed, err := setInterpreter(image)
	if err != nil {
		return fmt.Errorf("%s: %w", kernelPath, err)
	}
	// The C library loads this one by itself, to end threads.
	needed = append(needed, loader, "libgcc_s.so.1")
	for done := 0; done < len(needed); done++ {
		name := needed[done]
		from, ok := libs[name]
		if !ok {
			return fmt.Errorf("%s is not in the packages of User Mode Linux", name)
		}
		lib, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), lib, 0o755); err != nil {
			return err
		}
		more, err := imports(from)
		if err != nil {
			return err
		}
		for _, m := range more {
			if !slices.Contains(needed, m) {
				needed = append(needed, m)
			}
		}
	}
	return sys.WriteExecutable(filepath.Join(dir, executable), image, 0o755)
}

// libraries finds shared objects below root by their names.
func libraries(root string) (map[string]string, error) {
	libs := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.Contains(d.Name(), ".so.") {
			libs[d.Name()] = path
		}
		return err
	})
	return libs, err
}

func imports(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	return f.ImportedLibraries()
}

// setInterpreter makes loader the program interpreter of an executable, and
// returns the libraries that it needs.
func setInterpreter(image []byte) ([]string, error) {
	f, err := elf.NewFile(strings.NewReader(string(image)))
	if err != nil {
		return nil, err
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		if p.Filesz < uint64(len(loader)+1) || p.Off > uint64(len(image)) || p.Filesz > uint64(len(image))-p.Off {
			return nil, fmt.Errorf("no room for the interpreter %s", loader)
		}
		field := image[p.Off : p.Off+p.Filesz]
		clear(field)
		copy(field, loader)
		return f.ImportedLibraries()
	}
	return nil, fmt.Errorf("has no program interpreter")
}
