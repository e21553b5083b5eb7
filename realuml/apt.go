package realuml

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// apt is Debian's package manager with a configuration, package lists and a
// cache of its own below dir.
type apt struct {
	dir  string
	conf string
	base string // of the archive that the system's own packages come from
}

// archiveKeys is the keyring of package debian-archive-keyring.
const archiveKeys = "/usr/share/keyrings/debian-archive-keyring.gpg"

// newApt makes the configuration. The way to the archive (proxies and the like)
// is the system's, the rest is not: no hooks, no pinning, no other sources.
func newApt(ctx context.Context, dir string) (*apt, error) {
	a := &apt{dir: dir, conf: filepath.Join(dir, "apt.conf")}
	for _, tool := range []string{"apt-get", "apt-cache", "apt-config", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	for _, d := range []string{"state/lists/partial", "cache/archives/partial", "debs"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	access, err := a.command(ctx, "apt-config", "dump", "Acquire")
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for line := range strings.Lines(access) {
		if strings.HasPrefix(line, "Acquire::") && !strings.HasPrefix(line, "Acquire::IndexTargets") {
			b.WriteString(line)
		}
	}
	fmt.Fprintf(&b, `
Acquire::Languages "none";
APT::Sandbox::User "";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "%[1]s/state";
Dir::State::status "/dev/null";
Dir::Cache "%[1]s/cache";
`, dir)
	system := b.String()
	if err := os.WriteFile(a.conf, []byte(system), 0o644); err != nil {
		return nil, err
	}
	if a.base, err = a.archive(ctx); err != nil {
		return nil, err
	}
	system += fmt.Sprintf("Dir::Etc::sourcelist \"%s/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\n", dir)
	return a, os.WriteFile(a.conf, []byte(system), 0o644)
}

// archive finds where the system gets its own packages from: the source whose
// suite is the one that the system is a release of.
func (a *apt) archive(ctx context.Context) (string, error) {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	name := regexp.MustCompile(`(?m)^VERSION_CODENAME="?([a-z]+)"?$`).FindSubmatch(release)
	if name == nil {
		return "", fmt.Errorf("%w: /etc/os-release names no Debian release", ErrUnavailable)
	}
	uris, err := a.command(ctx, "apt-get", "update", "--print-uris")
	if err != nil {
		return "", err
	}
	index := regexp.MustCompile(`(?m)^'(.*)/dists/` + string(name[1]) + `/InRelease'`)
	found := index.FindStringSubmatch(uris)
	if found == nil {
		return "", fmt.Errorf("%w: no apt source has the suite %s", ErrUnavailable, name[1])
	}
	return found[1], nil
}

// choose sets the sources to the first suite that has a kernel as new as
// needed, and returns the package's version.
func (a *apt) choose(ctx context.Context, logf func(string, ...any)) (string, error) {
	signed := ""
	if _, err := os.Stat(archiveKeys); err == nil {
		signed = "[signed-by=" + archiveKeys + "] "
	}
	var tried []error
	for _, suite := range suites {
		line := fmt.Sprintf("deb %s%s %s main\n", signed, a.base, suite)
		if err := os.WriteFile(filepath.Join(a.dir, "sources.list"), []byte(line), 0o644); err != nil {
			return "", err
		}
		logf("looking for user-mode-linux in Debian %s", suite)
		// apt calls a source that it could not reach a warning otherwise.
		if _, err := a.command(ctx, "apt-get", "update", "-qq", "--error-on=any"); err != nil {
			tried = append(tried, err)
			continue
		}
		show, err := a.command(ctx, "apt-cache", "show", "--no-all-versions", "user-mode-linux")
		if err != nil {
			tried = append(tried, err)
			continue
		}
		version := field(show, "Version")
		if major(version) >= minVersion {
			return version, nil
		}
		tried = append(tried, fmt.Errorf("%s has version %q of user-mode-linux", suite, version))
	}
	return "", fmt.Errorf("%w: %w", ErrUnavailable, errors.Join(tried...))
}

// field is a field of a package's description.
func field(control, name string) string {
	for line := range strings.Lines(control) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// closure downloads a package and, from what it depends on, all libraries.
func (a *apt) closure(ctx context.Context, name string) ([]string, error) {
	var files []string
	seen := map[string]bool{name: true}
	for todo := []string{name}; len(todo) > 0; todo = todo[1:] {
		file, err := a.download(ctx, todo[0])
		if err != nil {
			return nil, err
		}
		files = append(files, file)
		depends, err := a.command(ctx, "dpkg-deb", "-f", file, "Depends")
		if err != nil {
			return nil, err
		}
		for _, d := range strings.Split(depends, ",") {
			d, _, _ = strings.Cut(strings.TrimSpace(d), " ")
			if strings.HasPrefix(d, "lib") && !seen[d] {
				seen[d] = true
				todo = append(todo, d)
			}
		}
	}
	return files, nil
}

// download gets one package and returns its file. Its own directory tells which
// file that is, whatever the version.
func (a *apt) download(ctx context.Context, name string) (string, error) {
	dir, err := os.MkdirTemp(filepath.Join(a.dir, "debs"), "")
	if err != nil {
		return "", err
	}
	cmd := a.prepare(ctx, "apt-get", "download", "-qq", name)
	cmd.Dir = dir
	if _, err := run(cmd); err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(files) != 1 {
		return "", fmt.Errorf("apt-get download %s left %d packages", name, len(files))
	}
	return files[0], nil
}

func (a *apt) prepare(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "APT_CONFIG="+a.conf, "LC_ALL=C")
	return cmd
}

func (a *apt) command(ctx context.Context, name string, args ...string) (string, error) {
	return run(a.prepare(ctx, name, args...))
}

// run returns what a command prints, and what it complains about as an error.
func run(cmd *exec.Cmd) (string, error) {
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(complaints.Bytes()))
	}
	return out.String(), nil
}
