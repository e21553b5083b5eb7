package realuml

import "regexp"

// unlikeLinux says that lines of a program's output are not those of Linux.
type unlikeLinux struct {
	program string
	line    *regexp.Regexp // matches the name, with the section's before it
	who     []peer
	why     string
}

var uml = []peer{umlSeccomp, umlPtrace}

// visibleExceptions are the differences to Linux that are known. Those of real
// UML alone are where ours is better.
var visibleExceptions = []unlikeLinux{
	except("faults", "write after mprotect, error code", []peer{umlSeccomp, umlPtrace, ours},
		"the error code is the host's, whose page tables have not seen the page yet since it was mapped anew"),
	except("faults", "read what can only be written, .*", uml, "UML has no memory that can be written but not read, yet no access for reading, either"),
	except("faults", "execute what cannot be executed, .*", uml, "UML has no memory that can be read but not executed"),
	except("faults", "(non-canonical address|privileged instruction), (code|address)", uml,
		"UML takes every SIGSEGV for a page fault, at the address of the last one"),

	except("memory", "write before the hole after that, error code", []peer{umlSeccomp, umlPtrace, ours}, "as the write after mprotect"),

	except("traps", ".*, (trap number|error code|address)", uml, "UML tells the last page fault's"),
	except("traps", "(interrupt of the kernel's|port), code", uml, "UML takes every SIGSEGV for a page fault"),

	except("single step", "single step, .*", []peer{umlSeccomp}, "UML tells the last page fault's address and trap number"),
	except("single step", "single step, .*|exit status", []peer{umlPtrace}, "UML in ptrace mode kills a program that steps through itself"),

	except("bases", "fs at the start", []peer{umlPtrace}, "UML in ptrace mode leaves its own base to the program"),
	except("bases that cannot be", "fs|gs", []peer{umlSeccomp}, "UML does not look at the base"),
	except("bases that cannot be", "fs|gs|exit status", []peer{umlPtrace}, "UML in ptrace mode dies of it"),

	except("signal frames", ".*, context flags", uml, "UML's frames do not say what they hold"),
}

func except(program, line string, who []peer, why string) unlikeLinux {
	return unlikeLinux{program, regexp.MustCompile("^(?:" + line + ")$"), who, why}
}
