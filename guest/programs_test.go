package guest_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"goskas/guest"
	"goskas/internal/testkit"
)

// programs are what people will try first, from a Debian system that is read-only
// with a writable /tmp. Bash runs the scripts on the host and in a guest; output
// and status have to be the same. $W is an empty directory, $P has the files of
// testdata/programs. They do not depend on how long anything takes. (Bash forgets a
// coprocess, and its descriptors, once that has ended.)
var programs = []struct {
	name, script string
	// quick ones run in short mode, too.
	quick bool
}{
	{"dash", `exec dash -c '
		f() { for i in "$@"; do case $i in a*) echo "A $i";; *) echo "other $i";; esac; done; }
		f abc x; x=${UNSET:-default}; echo "$x" | sed s/d/D/; cd $W; echo a >f; while read l; do echo "<$l>"; done <f
		(exit 4); echo $?; trap "echo bye" EXIT; sh -c "kill -TERM \$\$"; echo $?; printf "%03d|%s\n" 7 x; ulimit -n >/dev/null; exit 6'`, true},
	{"bash", `declare -A m=([one]=1 [two]=2); a=(x y "z w"); echo ${#a[@]} ${m[two]} "${a[2]}" ${a[@]:1:1}; echo {1..5} {a,b}{c,d}
		[[ abc =~ ^a(.)c$ ]] && echo ${BASH_REMATCH[1]}; diff <(seq 3) <(seq 4); echo $?; mapfile -t l < <(seq 5); echo ${l[-1]}
		coproc { while read x; do echo "got $x"; done; }; echo hi >&${COPROC[1]}; read y <&${COPROC[0]}; echo $y; exec {COPROC[1]}>&-; wait
		cat <<<here | tr a-z A-Z; echo $((2**40)) $((16#ff)); printf -v v %q "a b"; echo $v; set -o pipefail; false | true; echo $?
		(trap 'echo usr1' USR1; kill -USR1 $BASHPID; sleep 0.01); exec 7<>/dev/null; { time -p true; } 2>&1 | sed 's/ .*//'; echo ${v@U}; exit 9`, true},
	{"coreutils", `cd $W; seq 100 >n; sort -R n | sort -n | cmp - n && echo sorted; head -c 1000 /dev/zero | wc -c; tail -n 3 n; tac n | head -2
		cut -c1 n | uniq -c | sort -rn | head -3; join <(seq 5) <(seq 3 7); comm -12 <(seq 5) <(seq 3 7); paste -d, <(seq 3) <(seq 4 6); nl n | tail -1
		split -l 30 n s.; ls s.*; cat s.* | cmp - n; mkdir -p a/b; cp -a n a/b; mv a c; ls -R c; ln -s n l; readlink -f l | sed 's,.*/,,'; du -a c | wc -l
		stat -c '%s %a %F' n l; stat -c '%a %F %h' c; touch -d 2020-01-02 n; stat -c %y n | cut -c1-10; chmod 4711 n; stat -c %A n; install -D -m 640 n x/y/z; stat -c %a x/y/z
		sha256sum n; base64 n | md5sum; dd if=n bs=10 skip=2 count=3 2>/dev/null | od -c; shuf -i 1-9 | sort | tr -d '\n'; echo; expr 6 \* 7; factor 360; numfmt --to=iec 1048576
		truncate -s 20M big; stat -c '%s %b' big; cp --sparse=always big big2; cmp big big2 && echo same; rm -r c x big*; ls; mktemp -d XXXX >/dev/null; df . >/dev/null && sync && echo ok
		tsort <<<'a b b c'; timeout 0.1 sleep 5; echo $?; env -i A=1 env; mkfifo p; echo via >p & cat p; wait; nproc --all >/dev/null; date -u -d @0; id -u; tee t1 t2 <n >/dev/null; cmp t1 t2; echo $?`, true},
	{"find and xargs", `cd $W; mkdir -p d/{a,b}/{1,2}; for i in 1 2 3; do echo $i >d/a/$i.txt; echo $i >"d/b/x $i.c"; done 2>/dev/null; touch d/a/1/f d/b/2/g
		find d | sort; find d -name '*.c' -print0 | sort -z | xargs -0 cat; find d -type f -size -2 | wc -l; touch -d 2020-01-01 d/a/1.txt; find d -type f -newer d/a/1.txt | wc -l; find d ! -newer d/a/1.txt
		find d -name '*.txt' -exec grep -l 2 {} +; find d -depth -type d -empty | sort; seq 20 | xargs -n 6 echo; seq 6 | xargs -P 3 -I{} sh -c 'echo {}' | sort; find d -name g -delete; find / -maxdepth 1 -name tmp; find d -perm -u+x | sort; echo $?`, true},
	{"sed, awk and grep", `cd $W; seq 50 >n; sed -n '10,15{s/^/[/;s/$/]/;p}' n; sed -i.bak '/5/d;$a end' n; tail -2 n; ls; sed -E 's/(.)(.)/\2\1/;t;d' n | head -3
		awk 'NR%10==1{a[$1%3]+=$1} END{for(i=0;i<3;i++)print i,a[i]+0; printf "%.3f %s\n",atan2(1,1),substr("hello",2)}' n; awk -F: '$3==0{print $1}' /etc/passwd; awk 'BEGIN{while(("seq 3"|getline l)>0)s+=l;print s;print "z\na"|"sort"}'
		grep -c 1 n; grep -n -A1 -B1 '^7$' n; grep -E '^(root|daemon)' /etc/passwd; grep -rl root /etc/passwd; grep -o '[0-9]' n | sort | uniq -c; echo aXb | grep -iq x; echo $?; grep nosuch n; echo $?; grep x nosuchfile; echo $?`, true},
	{"tar, gzip and xz", `cd $W; mkdir -p d/e; seq 20000 >d/n; head -c 300000 /dev/zero >d/z; ln d/n d/h; ln -s n d/s; chmod 750 d/e
		for z in gzip xz bzip2; do tar cf a.tar.$z --sort=name --$z d && mkdir x && tar xf a.tar.$z -C x && diff -r d x/d && echo $z same && stat -c '%h %a' x/d/n x/d/e; readlink x/d/s; rm -r x; done
		tar tvf a.tar.gzip | awk '{print $1,$3,$6}'; tar cf - d | tar df - && echo no difference; gzip -9 <d/n | gzip -dc | md5sum; gzip -k d/n; gzip -l d/n.gz | tail -1 | awk '{print $2}'; xz -T2 -6 -k d/n; xz -dc d/n.xz | md5sum; xz -t d/n.xz; echo $?; zcat d/n.gz | wc -l; tar cf s.tar --sparse d/z; tar xOf s.tar d/z | wc -c; gzip -t /etc/passwd; echo $?`, false},
	{"perl", `cd $W; perl -we 'use strict; my %h; open my $f, "<", "/etc/passwd" or die; while (<$f>) { chomp; my @p = split /:/; $h{$p[0]} = $p[2] } print join(",", map { "$_=$h{$_}" } grep { $h{$_} < 3 } sort keys %h), "\n"'
		perl -MPOSIX -MFcntl=:flock -e 'my $pid = fork; if (!$pid) { exit 7 } waitpid $pid, 0; print $? >> 8, "\n"; open F, ">f"; flock F, LOCK_EX|LOCK_NB or die; print F "x" x 5000; close F; print -s "f", "\n"; $SIG{ALRM} = sub { die "alarm\n" }; eval { alarm 1; select undef,undef,undef,9 }; print $@; print strftime("%Y", gmtime 0), "\n"'
		perl -e 'print qx(echo sub); open P, "|-", "sort -n" or die; print P "$_\n" for 3,1,2; close P; pipe R, W; if (!fork) { close R; print W "pipe\n"; exit } close W; print <R>; wait; rename "f", "g"; print join(" ", sort glob "*"), "\n"; print sprintf("%.10f", sin 1), "\n"; $_ = "a1b22"; print join("|", /\d+/g), "\n"; exit 3'`, true},
	{"python", `cd $W; cp $P/suite.py .; /usr/bin/python3 -m unittest -v suite 2>&1 | sed 's/ in [0-9.]*s//'; echo ${PIPESTATUS[0]}; ls
		/usr/bin/python3 -c 'import multiprocessing as m
if __name__ == "__main__":
    m.set_start_method("fork"); q = m.Queue(); p = [m.Process(target=q.put, args=(i,)) for i in range(3)]
    [x.start() for x in p]; print(sorted(q.get() for _ in p)); [x.join() for x in p]'; /usr/bin/python3 -c 'import sys; sys.exit("message")'; echo $?; (/usr/bin/python3 -c 'import os; os.abort()'; echo $?) 2>/dev/null`, false},
	{"sqlite3", `cd $W; sqlite3 x.db "create table t (a integer primary key, b text, c real); with recursive n(i) as (select 1 union all select i+1 from n where i<5000) insert into t select i, 'row '||i, i/7.0 from n; create index x on t(b); select count(*), round(sum(c),3) from t; select b from t where b like 'row 49%' order by a limit 3;"
		sqlite3 x.db "pragma journal_mode=wal; insert into t(b) values('wal'); pragma wal_checkpoint(full); pragma integrity_check;"; sqlite3 x.db .dump | md5sum; sqlite3 x.db 'pragma mmap_size=1000000; select count(*) from t;'
		for i in 1 2 3 4; do sqlite3 -cmd '.timeout 20000' x.db "begin immediate; insert into t(b) values('p$i'); commit;" & done; wait; sqlite3 x.db "select group_concat(b) from (select b from t where b like 'p_' order by b); vacuum; pragma journal_mode=delete"; ls; sqlite3 x.db 'select nosuch'; echo $?`, false},
	{"git", `cd $W; export HOME=$W GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE=2020-01-01T00:00:00Z GIT_COMMITTER_DATE=2020-01-01T00:00:00Z; git config --global user.name n; git config --global user.email a@b; git config --global init.defaultBranch main; git config --global advice.detachedHead false
		git init -q r; cd r; seq 100 >f; mkdir d; echo x >d/y; git add .; git commit -qm one; sed -i 5d f; git diff --stat; git commit -qam two; git log --oneline --stat; git checkout -qb side; echo s >s; git add s; git commit -qm side; git checkout -q main; echo m >m; git add m; git commit -qm three; git merge -q side -m merge; git log --graph --oneline
		git status --short; git mv f g; git status --short; git stash -q; git stash list; git stash pop -q; git reset -q --hard; git tag v1; git describe; git gc -q; git fsck --full; git count-objects -v | grep -v size; cd ..; git clone -q r c; cd c; git log -1 --format=%H; git blame -s f | tail -2; git archive HEAD | tar t; git rev-parse nosuch; echo $?`, false},
	{"make -j2", `cd $W; printf 'all: $(patsubst %%,o%%,1 2 3 4 5 6) \n\tcat $^ | sort\no%%:\n\techo $* >$@; sleep 0.05\nfail:\n\tfalse\n.PHONY: all fail\n' >Makefile; make -s -j2; ls; make -j2; rm o3; make -n | head -2; make -s fail; echo $?; make -s nosuch; echo $?`, false},
	{"gcc", `cd $W; printf '#include <stdio.h>\n#include <stdlib.h>\n#include <math.h>\n#include "h.h"\nint main(int c, char **v) { double s = 0; for (int i = 1; i < c; i++) s += sqrt(atof(v[i])); printf("%%.6f %%d\\n", s, twice(c)); return 7; }\n' >a.c
		echo 'int twice(int);' >h.h; echo 'int twice(int n) { return 2 * n; }' >b.c; gcc -O2 -Wall -c a.c b.c && gcc -o a a.o b.o -lm && ./a 2 3; echo $?; gcc -shared -fPIC -o libb.so b.c && gcc -o d a.c -L. -lb -lm -Wl,-rpath,"$W" && ./d 16; gcc -static -O1 -pipe -o s a.c b.c -lm && ./s 9; ar rcs l.a b.o; nm l.a | awk '{print $3}'; strip s; ./s; echo 'int main( {' >e.c; gcc e.c 2>/dev/null; echo $?; gcc -E -P h.h; objdump -d b.o | grep -c ret; size a >/dev/null && ls`, false},
	{"openssl", `cd $W; seq 10000 >f; for d in md5 sha1 sha256 sha512 sha3-256 blake2b512; do openssl dgst -$d f; done; openssl enc -aes-256-cbc -pbkdf2 -k key -S 0102030405060708 -in f -out e; md5sum <e; openssl enc -d -aes-256-cbc -pbkdf2 -k key -S 0102030405060708 -in e | cmp - f && echo same
		openssl rand -hex 16 | wc -c; openssl genpkey -algorithm ed25519 -out k 2>/dev/null; openssl pkey -in k -pubout -out p; openssl pkeyutl -sign -inkey k -rawin -in f -out s; openssl pkeyutl -verify -pubin -inkey p -rawin -in f -sigfile s; openssl base64 -in f | md5sum; openssl dgst nosuch 2>/dev/null; echo $?`, false},
	{"go", `"$GO" version; cd $W; "$P/goroutines"; echo $?; GOMAXPROCS=1 "$P/goroutines" again; echo $?; GODEBUG=asyncpreemptoff=0 GOGC=5 "$P/goroutines" again | tail -1`, false},
}

// programEnv is the environment of programs, on the host and in the guest.
func programEnv(t *testing.T, w, p string) []string {
	t.Helper()
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	if goTool, err = filepath.EvalSymlinks(goTool); err != nil {
		t.Fatal(err)
	}
	return []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + w, "LC_ALL=C", "TZ=UTC", "W=" + w, "P=" + p, "GO=" + goTool, "TMPDIR=" + w}
}

// programFiles puts what the scripts need beside their sources into a directory.
func programFiles(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(dir, "goroutines"), "testdata/programs/goroutines.go")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	suite, err := os.ReadFile("testdata/programs/suite.py")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "suite.py"), suite, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// programPatience is how long one script may take; hosts are busy.
const programPatience = 3 * time.Minute

func bashOnHost(t *testing.T, script, p string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), programPatience)
	defer cancel()
	w := t.TempDir()
	cmd := exec.CommandContext(ctx, "/bin/bash", "-c", script)
	cmd.Args[0], cmd.Env = "bash", programEnv(t, w, p)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), string(out)}
}

func bashInGuest(t *testing.T, script, p string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), programPatience)
	defer cancel()
	const files = "/run/programs"
	var log bytes.Buffer
	t.Cleanup(func() {
		if t.Failed() && log.Len() > 0 {
			t.Logf("the machine says:\n%s", log.String())
		}
	})
	m := start(t, guest.Config{CPUs: 2, Memory: 512 << 20, Binds: []guest.Bind{{Host: p, Guest: files}},
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	m.fill("")
	status, err := m.Run(ctx, "/bin/bash", []string{"bash", "-c", script}, programEnv(t, "/tmp", files))
	if err != nil {
		t.Errorf("run: %v", err)
	}
	return result{status, m.out()}
}

func TestGuestProgramsAsOnHost(t *testing.T) {
	testkit.NoLeaks(t) // of all together: they run beside each other
	for _, program := range []string{"dash", "perl", "python3", "sqlite3", "git", "make", "gcc", "xz", "openssl", "find", "bzip2"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v (scripts/install-test-packages installs it)", err)
		}
	}
	p := programFiles(t)
	for _, s := range programs {
		if testing.Short() && !s.quick {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			want := bashOnHost(t, s.script, p)
			got := bashInGuest(t, s.script, p)
			if diff := cmp.Diff(readable(want), readable(got)); diff != "" {
				t.Errorf("host (-) and guest (+) differ:\n%s", diff)
			}
		})
	}
}

// readable makes differences of long outputs so.
func readable(r result) any {
	return struct {
		Status int
		Out    []string
	}{r.Status, strings.Split(r.Out, "\n")}
}
