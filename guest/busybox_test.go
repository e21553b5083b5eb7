package guest_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"goskas/guest"
	"goskas/internal/testkit"
)

// scripts run under busybox in the guest and on the host; both must say the
// same. $W is an empty directory.
var scripts = []struct{ name, script, stdin string }{
	{"echo", `echo hello; exit 3`, ""},
	{"stdin", `cat; read x; echo "[$x] $?"`, "one\ntwo\n"},
	{"pipe", `seq 1 1000 | grep 7 | sort -rn | head -5 | tr 7 x`, ""},
	{"large pipe", `dd if=/dev/zero bs=1000 count=3000 2>/dev/null | wc -c`, ""},
	{"pipe ends early", `yes | head -3; echo $?`, ""},
	{"substitution", `x=$(echo a; echo b); echo "$x" | wc -l; echo ${#x}`, ""},
	{"status", `false; echo $?; (exit 7); echo $?; busybox true && echo ok`, ""},
	{"not found", `/nonexistent/x; echo $?; nonexistent-command 2>/dev/null; echo $?; /etc/passwd 2>/dev/null; echo $?`, ""},
	{"background", `cd $W; mkfifo p; (read x <p; echo late) & echo early; echo >p; wait; echo done`, ""},
	{"many processes", `for i in $(seq 1 60); do busybox echo $i & wait; done | tail -1`, ""},
	{"parallel", `for i in 1 2 3 4 5 6 7 8; do (busybox echo $i; busybox true) & done | sort; wait`, ""},
	{"here document", "cat <<E\na $((1+2))\nE\n", ""},
	{"files", `cd $W; echo a >x; echo b >>x; cat x; cp x y; mv y z; ls; rm x; ls; test -f z && echo file; wc -c z`, ""},
	{"directories", `cd $W; mkdir -p a/b/c; touch a/b/f; rmdir a 2>/dev/null || echo no; find . | sort; rm -r a; ls -a`, ""},
	{"links", `cd $W; echo t >t; ln t h; ln -s t s; readlink s; cat s; stat -c %h t; rm t; cat h; cat s 2>/dev/null; echo $?; ln -s l l; cat l 2>&1 | sed s/.*://`, ""},
	{"modes", `cd $W; umask 027; touch f; mkdir d; stat -c '%a %F' f d; chmod 4755 f; stat -c %a f; test -x f && echo x`, ""},
	{"times", `cd $W; touch -d '2001-02-03 04:05:06' f; stat -c %Y f; test f -ot . && echo older`, ""},
	{"truncate", `cd $W; truncate -s 5000 f; stat -c %s f; truncate -s 10 f; stat -c %s f; md5sum f`, ""},
	{"tar", `cd $W; mkdir d; seq 1 2000 >d/n; echo x >d/x; tar czf a.tgz d; rm -r d; tar xzf a.tgz; md5sum d/n; ls -l d | awk '{print $1,$5,$9}'; tar tf a.tgz | sort`, ""},
	{"gzip", `cd $W; seq 1 50000 >n; gzip n; gunzip -c n.gz | md5sum; gunzip n.gz; wc -l n`, ""},
	{"sed awk", `seq 1 20 | sed -n '/5/,/9/p' | awk '{s+=$1} END {print s}'`, ""},
	{"sort unique", `printf 'b\na\nb\nc\n' | sort | uniq -c | awk '{print $1 $2}'`, ""},
	{"xargs", `seq 1 10 | xargs -n 3 echo`, ""},
	{"find host", `find /etc/apt -type f -name '*.conf' 2>/dev/null | sort | head -3; ls -d /usr/bin /etc`, ""},
	{"ls long", `ls -l /etc/passwd /etc/hostname | awk '{print $1,$3,$4,$5}'`, ""},
	{"expr", `expr 6 \* 7; echo $((0x10 ** 2)); test 3 -lt 5; echo $?`, ""},
	// ash tells of a job only if that ends while it waits: in these two it has ended before.
	{"kill", `sleep 100 & p=$!; kill $p; while kill -0 $p 2>/dev/null; do busybox true; done; wait $p; echo $?`, ""},
	{"kill -9", `sleep 100 & p=$!; kill -9 $p; while kill -0 $p 2>/dev/null; do busybox true; done; wait $p; echo $?; kill -0 $p 2>/dev/null; echo $?`, ""},
	{"trap", `trap 'echo caught' TERM; kill -TERM $$; echo after; trap 'echo bye' EXIT; exit 4`, ""},
	{"trap in wait", `trap 'echo usr1' USR1; (sleep 0.1; kill -USR1 $$) & wait; echo woken; wait; echo end`, ""},
	{"killed by signal", `busybox sh -c 'kill -SEGV $$'; echo $?; busybox sh -c 'kill -PIPE $$'; echo $?`, ""},
	{"stop and continue", `cd $W; (until test -e go; do busybox sleep 0.01; done; exit 5) & p=$!; kill -STOP $p; until grep -q "State:.T" /proc/$p/status; do :; done; grep State /proc/$p/status | cut -c8; kill -CONT $p; : >go; wait $p; echo $?`, ""},
	{"ignored signal", `trap '' INT; busybox sh -c 'kill -INT $$; echo alive'`, ""},
	{"timeout", `timeout 0.2 sleep 10; echo $?; timeout 100 true; echo $?`, ""},
	{"redirections", `cd $W; echo a >f 2>&1; cat <f; exec 3>g; echo b >&3; exec 3>&-; cat g; { echo c; echo d >&2; } 2>&1 | sort`, ""},
	{"closed output", `echo x >&- 2>/dev/null; echo $?`, ""},
	{"script file", "cd $W; printf '#!/bin/busybox sh\\necho script $1 $0\\n' >s; chmod +x s; ./s arg; printf 'echo plain $1\\n' >p; chmod +x p; ./p arg", ""},
	{"exec", `exec busybox echo replaced; echo not reached`, ""},
	{"environment", `A=1 busybox env | grep ^A; export B=2; busybox sh -c 'echo $B'`, ""},
	{"large argument", `x=$(seq 1 20000); busybox echo "$x" | wc -c; set -- $x; echo $#`, ""},
	{"cwd", `cd /usr/../usr/./bin; pwd; cd ..; pwd; cd /nonexistent 2>/dev/null || echo no`, ""},
	{"dev", `head -c 5 /dev/zero | od -An -tx1; echo x >/dev/null; head -c 100 /dev/urandom | wc -c; echo x >/dev/full 2>/dev/null; echo $?; echo out >/dev/stdout; echo in | cat /dev/stdin`, ""},
	{"proc self", `readlink /proc/self/exe | sed 's,.*/,,'; cat /proc/self/cmdline | tr '\0' ' '; echo; cat /proc/self/comm`, ""},
	{"nested shells", `busybox sh -c 'busybox sh -c "busybox sh -c \"echo deep; exit 5\""'; echo $?`, ""},
	{"time", `t=$(date +%s); sleep 1; u=$(date +%s); d=$((u-t)); test $d -ge 1 && test $d -le 60 && echo ok`, ""},
	{"errors", `cat /etc 2>&1 | sed s/.*://; cat /etc/passwd/ 2>&1 | sed s/.*://; rmdir /etc/nonexistent 2>&1 | sed s/.*://; cd /etc/passwd 2>&1 | sed s/.*://`, ""},
	{"sigpipe status", `busybox sh -c 'while :; do echo x; done' | head -1; echo done`, ""},
	{"read and remove", `cd $W; echo one >f; exec 5<f; read l <&5; echo $l; rm f; read l <&5 || echo eof`, ""},
	{"unlinked", `cd $W; echo keep >f; exec 4<f; rm f; cat <&4; ls | wc -l`, ""},
	{"dd seek", `cd $W; printf abcdef >f; printf XY | dd of=f bs=1 seek=2 conv=notrunc 2>/dev/null; cat f; echo; dd if=f bs=2 skip=1 count=1 2>/dev/null`, ""},
	{"cksum of host file", `md5sum /bin/busybox; wc -c /bin/busybox`, ""},
	{"ps", `busybox ps -o pid,comm >/dev/null && echo ok; busybox free >/dev/null && echo ok; busybox uptime >/dev/null && echo ok`, ""},
	// What somebody new to this would try.
	{"case", `for f in a.c b.h c.txt; do case $f in *.c) echo C;; *.h) echo H;; *) echo other;; esac; done`, ""},
	{"while read", `while read a b; do echo $((a+b)) $a; done; echo $a`, "1 2\n3 4\n"},
	{"recursion", `f() { local x=$1; [ $x -le 1 ] && { echo 1; return; }; echo $((x * $(f $((x-1))))); }; f 7; g() { [ $1 = 0 ] && echo bottom || g $(($1-1)); }; g 500`, ""},
	{"parameters", `s=hello.tar.gz; echo ${s%.gz} ${s#*.} ${s##*.} ${s%%.*} ${#s} ${x:-no} ${s:+set} ${s/hello/bye} ${s:1:3}; set -- a 'b c'; echo $# "$@" "$*"; shift; echo $1`, ""},
	{"globs", `cd $W; touch a1 a2 b1 .h; echo a* [ab]1 ?2 *.none .h*; echo /etc/pass*d`, ""},
	{"here documents", "x=v\ncat <<'E' - /dev/null; cat <<-E | tr a-z A-Z\n$x `y`\nE\n\ttab $x\n\tE\nwhile read l; do echo \"[$l]\"; done <<E\n$(seq 2)\nE\n", ""},
	{"large here document", "cat <<E | md5sum\n$(seq 20000)\nE\n", ""},
	{"jobs and their statuses", `for i in 1 2 3 4 5 6 7 8; do (exit $i) & eval p$i=$!; done; for i in 3 1 8 2 4 7 5 6; do eval wait \$p$i; echo $i $?; done; wait; echo $?; wait 99999; echo $?`, ""},
	{"subshell", `cd /; x=1; (x=2; cd /etc; echo $x; pwd); echo $x; pwd; (exit 5) || echo $?; { x=3; }; echo $x`, ""},
	{"pipefail", `false | true; echo $?; set -o pipefail; false | true; echo $?; (exit 3) | (exit 4) | true; echo $?`, ""},
	{"set -e", `set -e; echo a; if false; then :; fi; false || echo b; false; echo c`, ""},
	{"set -u", `set -u; echo ${nosuch:-ok}; echo $nosuch; echo not reached`, ""},
	{"getopts", `set -- -a -b val rest; while getopts ab: o; do echo $o $OPTARG; done; shift $((OPTIND-1)); echo $@`, ""},
	{"printf", `printf '\101\x42\n\t%%%05.2f|%-5s|%x\n' 3.14159 ab 255; echo -e 'a\nb'; echo -n x`, ""},
	{"source", `cd $W; echo 'f() { echo sourced $1; }' >lib; . ./lib; f x; . ./nosuch; echo not reached`, ""},
	{"long pipeline", `seq 100 | cat | cat | cat | cat | cat | cat | cat | cat | cat | cat | wc -l`, ""},
	{"grep", `printf 'Foo\nbar\nfoobar\n' | grep -in foo; grep -c : /etc/passwd; grep -q root /etc/passwd && echo found; grep -E '^(root|daemon):' /etc/passwd; grep -r PATH /etc/profile | head -2; grep x /nonexistent; echo $?; grep x /dev/null; echo $?`, ""},
	{"sed", `printf 'one two\nthree four\n' | sed -e 's/\(.*\) \(.*\)/\2 \1/' -e '2d'; cd $W; echo a >f; sed -i s/a/b/ f; cat f; seq 5 | sed -n '2{p;q}'; seq 2 | sed 'a x'; seq 9 | sed '$!N;s/\n/-/'`, ""},
	{"awk", `awk -F: '$3 < 3 {print $1, $6; n++} END {print n}' /etc/passwd; awk 'BEGIN {for (i=0;i<5;i++) a[i]=i*i; for (i=4;i>=0;i--) printf "%d ", a[i]; print substr("hello",2,3), length("abc"), toupper("x"), 10/4, int(7.9), sqrt(2), exp(1), sin(1), 2^10; while (("echo cmd" | getline l) > 0) print l; system("echo sys; exit 3"); print "x" | "cat"; close("cat"); exit 5}'`, ""},
	{"sort", `printf '10 a\n9 b\n9 a\n' | sort -n -k1,1 -k2,2; sort -t: -k3 -n /etc/passwd | head -3 | cut -d: -f1; seq 50000 | sort -r | md5sum; printf 'b\na\n' | sort -c; echo $?`, ""},
	{"find", `cd $W; mkdir -p a/b; touch a/x.c a/b/y.c a/z; find a -name '*.c' -exec echo found {} \; | sort; find a -type d | sort; find a -type f | xargs ls | sort; find a -name z -delete; ls a; find /nonexistent; echo $?`, ""},
	{"tar", `cd $W; mkdir d; ln -s t d/l; echo x >d/t; chmod 600 d/t; tar cf x.tar d; rm -r d; tar xf x.tar; ls -l d | awk '{print $1,$9,$10,$11}'; cat d/l; tar cf - /etc/hostname 2>/dev/null | tar tf -; tar xf /etc/passwd; echo $?`, ""},
	{"gzip pipes", `seq 30000 | gzip -9 | zcat | md5sum; seq 30000 | bzip2 | bunzip2 | md5sum; echo junk | gunzip; echo $?; cat /etc/passwd | gzip | wc -l >/dev/null && echo ok`, ""},
	{"checksums", `cd $W; seq 9999 >f; md5sum f >s; sha1sum f; sha256sum f; sha512sum f; cksum f; md5sum -c s; echo x >>f; md5sum -c s; echo $?`, ""},
	{"text", `printf 'a,b,c\n' | cut -d, -f2; echo abc | rev; seq 3 | paste -s -d+; seq 6 | paste - -; echo hello | fold -w 2; seq 10 | tail -n +8; seq 10 | head -n -7; seq 3 | tac; seq 3 | nl; wc </etc/passwd; echo abc | od -c; echo hi | xxd; echo aGk= | base64 -d; factor 84; cal 2 2024; date -u -d @0; seq 5 | shuf | sort`, ""},
	{"diff", `cd $W; seq 5 >a; sed 3d a >b; diff a b; echo $?; cmp a b; echo $?; diff -U1 a b | tail -n +3 >p; (echo '--- a'; echo '+++ a'; cat p) | patch; cmp a b && echo same`, ""},
	{"copies", `cd $W; mkdir s; echo 1 >s/f; ln -s f s/l; cp -a s t; diff -r s t && echo same; readlink t/l; install -m 600 s/f i; stat -c %a i; du -s s >/dev/null; mv s/f t/g; ls s t; cp -r s s/x 2>&1 | wc -l; tee a b <i; cat a b`, ""},
	{"archives", `cd $W; echo x >f; echo f | cpio -o -H newc 2>/dev/null | cpio -it 2>/dev/null; echo '2 3 + p' | dc; echo '2^64' | bc; printf 'a\nhello\n.\nw f\nq\n' | ed; cat f`, ""},
	{"parallel xargs", `seq 40 | xargs -n1 -P4 busybox echo | sort -n | md5sum; false | xargs false; echo $?; echo x | xargs false; echo $?`, ""},
	{"environment cleared", `env -i A=b busybox env; env nosuchcommand; echo $?; nice busybox echo nice; setsid busybox echo session; nohup busybox echo hup 2>/dev/null`, ""},
	{"commands by name", `type cd; command -v busybox; which busybox; busybox nosuchapplet; echo $?; /bin; echo $?; ""; echo $?`, ""},
	{"traps", `trap 'echo exit $?' EXIT; trap 'echo int' INT; (trap 'echo sub' EXIT; exit 3); echo $?; kill -INT $$; kill -l 15; trap - INT; trap`, ""},
	{"signal to a group", `busybox setsid sh -c 'trap "echo term" TERM; (kill -TERM 0); echo end'; echo $?`, ""},
	{"read only host", `f=/etc/goskas-test.$$; echo x 2>/dev/null >$f; test $? != 0 || rm $f; test -w $W && echo writable; cd $W; mkdir a; rmdir a; rmdir a; echo $?; mv nosuch x; echo $?`, ""},
	{"descriptors", `cd $W; echo one >f; exec 5<f; read l <&5; echo $l; read l <&5 || echo eof; exec 5<&-; cat <&5; echo $?; exec 6<>f; echo two >&6; cat f; seq 3 | { read a; cat; echo $a; }`, ""},
	{"times out", `timeout 100 busybox sh -c 'trap "" TERM; sleep 0.1; echo done'; echo $?; timeout -s KILL 0.1 sleep 9; echo $?; read -t 1 x; echo $?`, ""},
	{"named pipes", `cd $W; mkfifo -m 640 p; stat -c '%F %a' p; (echo one; sleep 0.1; echo two) >p & cat p; wait; seq 30000 >p & md5sum <p; wait; exec 3<>p; echo kept >&3; read x <&3; echo $x; exec 3>&-; mkfifo p 2>/dev/null; echo $?; mv p q; test -p q && echo pipe; rm q; ls | wc -l`, ""},
	{"removed directory", `mkdir $W/d; cd $W/d; rmdir ../d; busybox pwd 2>&1 | sed s/.*://; echo x 2>/dev/null >f; echo $?; cd $W; busybox pwd | sed 's,.*/,,' | wc -l`, ""},
	{"busy loops", `for n in 1 2 3; do (i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done; echo $i) & done; wait`, ""},
}

// onHost runs a script under the host's busybox.
func onHost(t *testing.T, script, stdin string) result {
	t.Helper()
	cmd := exec.Command("/bin/busybox", "sh", "-c", script)
	cmd.Env = []string{"PATH=/bin:/usr/bin", "HOME=/tmp", "W=" + t.TempDir()}
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), string(out)}
}

func TestGuestBusybox(t *testing.T) {
	testkit.NoLeaks(t) // of all together: they run beside each other
	cpus := 1
	if testing.Short() { // as under the race detector, which likes company
		cpus = 2
	}
	for _, s := range scripts {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel() // many sleep
			want := onHost(t, s.script, s.stdin)
			got := sh(t, guest.Config{CPUs: cpus}, "W=/tmp; "+s.script, s.stdin)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("host (-) and guest (+) differ:\n%s", diff)
			}
		})
	}
}
