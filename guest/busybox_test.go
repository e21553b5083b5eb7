package guest_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"goskas/guest"
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
	{"background", `(sleep 0.1; echo late) & echo early; wait; echo done`, ""},
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
	{"kill", `sleep 100 & p=$!; kill $p; wait $p; echo $?`, ""},
	{"kill -9", `sleep 100 & p=$!; kill -9 $p; wait $p; echo $?; kill -0 $p 2>/dev/null; echo $?`, ""},
	{"trap", `trap 'echo caught' TERM; kill -TERM $$; echo after; trap 'echo bye' EXIT; exit 4`, ""},
	{"trap in wait", `trap 'echo usr1' USR1; (sleep 0.1; kill -USR1 $$) & wait; echo woken; wait; echo end`, ""},
	{"killed by signal", `busybox sh -c 'kill -SEGV $$'; echo $?; busybox sh -c 'kill -PIPE $$'; echo $?`, ""},
	{"stop and continue", `sleep 0.3 & p=$!; kill -STOP $p; until grep -q "State:.T" /proc/$p/status; do :; done; grep State /proc/$p/status | cut -c8; kill -CONT $p; wait $p; echo $?`, ""},
	{"ignored signal", `trap '' INT; busybox sh -c 'kill -INT $$; echo alive'`, ""},
	{"timeout", `timeout 0.2 sleep 10; echo $?; timeout 5 true; echo $?`, ""},
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
	{"time", `t=$(date +%s); sleep 1; u=$(date +%s); d=$((u-t)); test $d -ge 1 && test $d -le 3 && echo ok`, ""},
	{"errors", `cat /etc 2>&1 | sed s/.*://; cat /etc/passwd/ 2>&1 | sed s/.*://; rmdir /etc/nonexistent 2>&1 | sed s/.*://; cd /etc/passwd 2>&1 | sed s/.*://`, ""},
	{"sigpipe status", `busybox sh -c 'while :; do echo x; done' | head -1; echo done`, ""},
	{"fifo refused", `cd $W; echo one >f; exec 5<f; read l <&5; echo $l; rm f; read l <&5 || echo eof`, ""},
	{"unlinked", `cd $W; echo keep >f; exec 4<f; rm f; cat <&4; ls | wc -l`, ""},
	{"dd seek", `cd $W; printf abcdef >f; printf XY | dd of=f bs=1 seek=2 conv=notrunc 2>/dev/null; cat f; echo; dd if=f bs=2 skip=1 count=1 2>/dev/null`, ""},
	{"cksum of host file", `md5sum /bin/busybox; wc -c /bin/busybox`, ""},
	{"ps", `busybox ps -o pid,comm >/dev/null && echo ok; busybox free >/dev/null && echo ok; busybox uptime >/dev/null && echo ok`, ""},
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
	for _, s := range scripts {
		t.Run(s.name, func(t *testing.T) {
			want := onHost(t, s.script, s.stdin)
			got := sh(t, guest.Config{}, "W=/tmp; "+s.script, s.stdin)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("host (-) and guest (+) differ:\n%s", diff)
			}
		})
	}
}
