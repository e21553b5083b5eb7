# A small test suite, as Python programs have one: its run, by -m unittest, uses a
# good part of what the interpreter asks a kernel for.
import hashlib
import json
import mmap
import os
import queue
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import zlib


class Files(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(dir=os.environ["W"])

    def tearDown(self):
        shutil.rmtree(self.dir)

    def path(self, name):
        return os.path.join(self.dir, name)

    def test_text(self):
        with open(self.path("f"), "w+") as f:
            f.writelines("%d\n" % i for i in range(5000))
            f.seek(0)
            self.assertEqual(sum(int(line) for line in f), 12497500)

    def test_names(self):
        os.makedirs(self.path("a/b/c"))
        os.symlink("b", self.path("a/l"))
        open(self.path("a/b/f"), "w").close()
        os.link(self.path("a/b/f"), self.path("a/h"))
        os.replace(self.path("a/h"), self.path("a/b/c/h"))
        found = sorted(os.path.relpath(os.path.join(d, n), self.dir) for d, ds, fs in os.walk(self.dir) for n in ds + fs)
        self.assertEqual(found, ["a", "a/b", "a/b/c", "a/b/c/h", "a/b/f", "a/l"])
        self.assertEqual(os.stat(self.path("a/l/f")).st_nlink, 2)
        shutil.copytree(self.path("a"), self.path("copy"), symlinks=True)
        self.assertEqual(os.readlink(self.path("copy/l")), "b")

    def test_shared_mapping(self):
        with open(self.path("m"), "w+b") as f:
            f.truncate(10000)
            with mmap.mmap(f.fileno(), 0) as m:
                m[9000:9005] = b"hello"
                self.assertEqual(os.pread(f.fileno(), 5, 9000), b"hello")
                os.pwrite(f.fileno(), b"J", 9000)
                self.assertEqual(m.find(b"Jello"), 9000)
                m.flush()

    def test_mapping_of_a_child(self):
        m = mmap.mmap(-1, 4096)
        pid = os.fork()
        if pid == 0:
            m[:5] = b"child"
            os._exit(3)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 3)
        self.assertEqual(m[:5], b"child")

    def test_sparse(self):
        with open(self.path("s"), "wb") as f:
            f.seek(1 << 20)
            f.write(b"x")
            os.posix_fallocate(f.fileno(), 0, 4096)
        self.assertEqual(os.path.getsize(self.path("s")), (1 << 20) + 1)

    def test_errors(self):
        for call, error in [
            (lambda: open(self.path("none")), FileNotFoundError),
            (lambda: os.mkdir(self.dir), FileExistsError),
            (lambda: os.listdir("/etc/passwd"), NotADirectoryError),
            (lambda: open(self.dir, "w"), IsADirectoryError),
            (lambda: os.kill(1 << 22, 0), ProcessLookupError),
        ]:
            self.assertRaises(error, call)


class Processes(unittest.TestCase):
    def test_pipeline(self):
        a = subprocess.Popen(["seq", "100"], stdout=subprocess.PIPE)
        b = subprocess.run(["grep", "-c", "7"], stdin=a.stdout, capture_output=True, text=True)
        a.stdout.close()
        self.assertEqual((b.stdout, a.wait()), ("19\n", 0))

    def test_communicate(self):
        p = subprocess.run(["tr", "a-z", "A-Z"], input="text" * 50000, capture_output=True, text=True)
        self.assertEqual(p.stdout, "TEXT" * 50000)

    def test_timeout_and_signal(self):
        with self.assertRaises(subprocess.TimeoutExpired):
            subprocess.run(["sleep", "30"], timeout=0.2)
        p = subprocess.Popen(["sleep", "30"])
        p.terminate()
        self.assertEqual(p.wait(), -signal.SIGTERM)

    def test_environment_and_directory(self):
        p = subprocess.run('pwd; echo "$X"; exit 4', shell=True, cwd="/usr", env={"X": "y"}, capture_output=True, text=True)
        self.assertEqual((p.stdout, p.returncode), ("/usr\ny\n", 4))

    def test_alarm(self):
        hits = []
        signal.signal(signal.SIGALRM, lambda *a: hits.append(1))
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        select.select([], [], [], 0.5)
        self.assertEqual(hits, [1])


class Threads(unittest.TestCase):
    def test_queue(self):
        todo, done = queue.Queue(), queue.Queue()

        def work():
            while (n := todo.get()) is not None:
                done.put(n * n)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for t in threads:
            t.start()
        for i in range(400):
            todo.put(i)
        for _ in threads:
            todo.put(None)
        for t in threads:
            t.join()
        self.assertEqual(sum(done.get() for _ in range(400)), sum(i * i for i in range(400)))

    def test_condition(self):
        c, turn, log = threading.Condition(), [0], []

        def player(me):
            for _ in range(50):
                with c:
                    c.wait_for(lambda: turn[0] == me)
                    log.append(me)
                    turn[0] = 1 - me
                    c.notify_all()

        threads = [threading.Thread(target=player, args=(i,)) for i in (0, 1)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(log, [0, 1] * 50)

    def test_event_times_out(self):
        before = time.monotonic()
        self.assertFalse(threading.Event().wait(0.05))
        self.assertGreaterEqual(time.monotonic() - before, 0.05)


class Libraries(unittest.TestCase):
    def test_sqlite(self):
        path = os.path.join(os.environ["W"], "suite.db")
        with sqlite3.connect(path) as db:
            db.execute("create table t (n integer primary key, s text)")
            db.executemany("insert into t values (?, ?)", ((i, str(i) * 3) for i in range(1000)))
        with sqlite3.connect(path) as db:
            self.assertEqual(db.execute("select count(*), max(s) from t").fetchone(), (1000, "999999999"))
        os.remove(path)

    def test_digests(self):
        data = json.dumps(list(range(10000))).encode()
        self.assertEqual(hashlib.sha256(zlib.decompress(zlib.compress(data))).hexdigest(), hashlib.sha256(data).hexdigest())

    def test_environment(self):
        self.assertEqual(sys.platform, "linux")
        self.assertEqual(len(os.urandom(32)), 32)


if __name__ == "__main__":
    unittest.main()
