package trace

import "strings"

// Exception is a difference that is meant: lines that it makes the same count as
// equal.
type Exception struct {
	Name string
	Why  string

	rewrite func(text string) string
}

// Granted lists where our stub differs from UML's on purpose.
func Granted() []Exception {
	return []Exception{
		{
			Name: "exec",
			Why: "UML maps each page that is present PROT_EXEC: its page tables have no bit for that. " +
				"Here a page is executable if the guest asked for it, as on Linux itself.",
			rewrite: func(text string) string {
				if !strings.HasPrefix(text, "mmap ") || strings.HasPrefix(text, "mmap CODE") {
					return text
				}
				text = strings.Replace(text, "|PROT_EXEC ", " ", 1)
				return strings.Replace(text, " PROT_EXEC ", " PROT_NONE ", 1)
			},
		},
		{
			Name: "sigpipe",
			Why:  "UML's kernel blocks SIGPIPE, and its stubs inherit that; nobody sends them one.",
			rewrite: func(text string) string {
				return strings.Replace(text, "rt_sigreturn({mask=[PIPE]})", "rt_sigreturn({mask=[]})", 1)
			},
		},
	}
}

func keys(lines []Line, granted []Exception) []string {
	keys := make([]string, len(lines))
	for i, l := range lines {
		keys[i] = l.Text
		for _, e := range granted {
			keys[i] = e.rewrite(keys[i])
		}
	}
	return keys
}

// needed names the exceptions that change exactly one of two lines.
func needed(left, right string, granted []Exception) []string {
	var names []string
	for _, e := range granted {
		if (e.rewrite(left) == left) != (e.rewrite(right) == right) {
			names = append(names, e.Name)
		}
	}
	return names
}
