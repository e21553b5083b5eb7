#include "show.h"
#include <dirent.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

static void where(void)
{
	char buf[4096];
	if (!getcwd(buf, sizeof buf)) { printf("  nowhere: %s\n", strerrorname_np(errno)); return; }
	char *last = strrchr(buf, '/'); /* the test's own directory has another name in a guest */
	printf("  in %s%s\n", buf[0] == '/' ? "" : "(unreachable)", last == buf || !strcmp(last, "/dir") || !strcmp(last, "/sub") || !strcmp(last, "/jail") ? last : "/...");
}

static void says(const char *path)
{
	char buf[100];
	int f = open(path, O_RDONLY);
	if (f < 0) { printf("  %s: %s\n", path, strerrorname_np(errno)); return; }
	int n = read(f, buf, sizeof buf);
	printf("  %s: %.*s\n", path, n < 0 ? 0 : n, buf);
	close(f);
}

static void file(const char *path, const char *text)
{
	int f = must(open(path, O_CREAT | O_WRONLY, 0666));
	must(write(f, text, strlen(text)));
	close(f);
}

static void kind(const char *path)
{
	struct stat st;
	if (lstat(path, &st)) { printf("  %s: %s\n", path, strerrorname_np(errno)); return; }
	printf("  %s: %o %u %u, %u:%u, %ld, links %ld\n", path, st.st_mode, st.st_uid, st.st_gid, major(st.st_rdev), minor(st.st_rdev), S_ISDIR(st.st_mode) ? 0 : (long)st.st_size, (long)st.st_nlink);
}

static void in_child(void (*body)(void))
{
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) { body(); exit(0); }
	int status;
	waitpid(pid, &status, 0);
	printf("  status %x\n", status);
}

static int outside;

static void jailed(void)
{
	show(chroot("jail")); where(); says("file"); says("/file"); says("/../file"); says("/dir/../../../file");
	show(chdir("/")); where(); show(chdir("..")); where(); says("file"); says("dir/up"); says("link"); says("dir/link"); says("/dir/link/");
	show(chdir("dir")); where(); says("../../../file"); says("deep"); show(access("/jail", F_OK));
	show(mkdir("/../new", 0777)); kind("/new"); show(rename("/new", "/../../newer")); kind("/newer"); show(symlink("/file", "abs")); says("abs"); show(unlink("/dir/abs")); show(rmdir("/newer"));
	show(chroot("nosuch")); show(chroot("/file")); show(chroot("/file/")); show(chroot("")); show(chroot("/loop"));
	/* a jail in the jail, and the way out of both */
	show(chroot("/dir")); where(); says("/deep"); says("../../file"); show(chdir("/")); where(); says("../deep"); says("../../file");
	show(fchdir(outside)); where(); says("file"); says("jail/file"); says("/deep"); show(chdir("..")); where(); show(fchdir(outside));
	show(chroot(".")); where(); says("/file"); says("../file"); show(access("/jail/dir", F_OK));
}

static void removed(void)
{
	show(mkdir("gone", 0777)); show(chdir("gone")); show(chroot(".")); where(); show(fchdir(outside)); show(rmdir("gone"));
	show(access("/", F_OK)); show(open("/new", O_CREAT | O_WRONLY, 0666)); show(chdir("/")); where();
}

static void program(void)
{
	show(chroot("jail")); show(chdir("/dir"));
	char *const argv[] = { "prog", "executed", NULL }, *const envp[] = { NULL };
	show(execve("/prog/no", argv, envp)); show(execve("/jail/prog", argv, envp)); show(execve("/script", argv, envp));
}

static void device(const char *path, int flags)
{
	char buf[8] = "xxxxxxxx";
	struct stat a, b;
	printf("%s\n", path);
	int f = show(open(path, flags));
	if (f < 0) return;
	show(read(f, buf, 8)); printf("  %d\n", buf[0]);
	show(write(f, "abc", 3)); show(lseek(f, 5, SEEK_SET)); show(ftruncate(f, 0)); show(isatty(f));
	fstat(f, &a); stat(path, &b); show(a.st_ino == b.st_ino && a.st_dev == b.st_dev && a.st_rdev == b.st_rdev && a.st_mode == b.st_mode);
	show(fchmod(f, 0640)); show(fchown(f, 3, 4)); kind(path);
	close(f);
}

int main(int argc, char **argv)
{
	if (argc > 1) { printf("%s by %s\n", argv[1], argv[0]); where(); says("deep"); says("/file"); return 3; }

	section("roots");
	umask(022);
	outside = must(open(".", O_RDONLY | O_DIRECTORY));
	must(mkdir("jail", 0755)); must(mkdir("jail/dir", 0755)); must(mkdir("jail/dir/sub", 0755));
	file("file", "outside"); file("jail/file", "jail"); file("jail/dir/deep", "deep");
	must(symlink("/file", "jail/link")); must(symlink("../link", "jail/dir/link")); must(symlink("../../file", "jail/dir/up")); must(symlink("loop", "jail/loop"));
	in_child(jailed); says("file"); says("jail/link"); show(access("/jail", F_OK));
	in_child(removed);

	section("programs");
	char self[4096]; int n = must(readlink("/proc/self/exe", self, sizeof self - 1)); self[n] = 0;
	int from = must(open(self, O_RDONLY)), to = must(open("jail/prog", O_CREAT | O_WRONLY, 0755));
	static char image[1 << 22]; n = must(read(from, image, sizeof image)); must(write(to, image, n)); close(from); close(to);
	file("jail/script", "#!/prog scripted\n"); must(chmod("jail/script", 0755));
	in_child(program);

	section("devices");
	umask(027);
	show(mknod("null", S_IFCHR | 0666, makedev(1, 3))); kind("null"); show(mknod("null", S_IFCHR | 0666, makedev(1, 3))); show(mknod("zero", S_IFCHR | 06777, makedev(1, 5))); kind("zero"); show(mknod("full", S_IFCHR, makedev(1, 7))); show(mknod("random", S_IFCHR | 0444, makedev(1, 9)));
	show(mknod("none", S_IFCHR | 0666, makedev(4000, 70000))); kind("none"); show(mknod("disk", S_IFBLK | 0660, makedev(4001, 0))); kind("disk");
	show(mknod("dir", S_IFDIR | 0777, 0)); show(mknod("link", S_IFLNK | 0777, 0)); show(mknod("odd", 0150000, 0)); show(mknod("slash/", S_IFCHR, 0)); show(mknod("nosuch/x", S_IFCHR, 0)); show(mknod("null/x", S_IFCHR, 0)); show(mknod("", S_IFCHR, 0));
	show(mknod("plain", 0666, 5)); kind("plain"); show(mknod("pipe", S_IFIFO | 0666, 5)); kind("pipe");
	close(outside);
	device("null", O_RDWR); device("zero", O_RDWR); device("full", O_RDWR); device("none", O_RDONLY); device("disk", O_RDONLY);
	int f = show(open("random", O_RDONLY)); char a[16] = { 0 }, b[16] = { 0 }; show(read(f, a, 16)); show(read(f, b, 16)); show(memcmp(a, b, 16) != 0); close(f);
	f = open("zero", O_RDWR); char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, f, 0); show(p != MAP_FAILED && p[5000] == 0); p[5000] = 1; close(f);
	show(truncate("null", 3)); show(open("null", O_RDONLY | O_DIRECTORY)); show(open("null/x", O_RDONLY)); show(open("null", O_RDWR | O_TRUNC | O_CREAT, 0666)); show(execve("null", argv, NULL));
	show(link("null", "null2")); kind("null2"); show(rename("null2", "null3")); kind("null3"); show(unlink("null")); kind("null3"); show(chmod("null3", 0100)); show(chown("null3", 5, 6)); kind("null3");
	f = show(open("null3", O_WRONLY)); show(unlink("null3")); show(write(f, "gone", 4)); struct stat st; show(fstat(f, &st)); printf("%o %ld\n", st.st_mode, (long)st.st_nlink);
	struct dirent **list; n = scandir(".", &list, NULL, alphasort);
	for (int i = 0; i < n; i++) if (list[i]->d_type == DT_CHR || list[i]->d_type == DT_BLK) printf("  %s %d\n", list[i]->d_name, list[i]->d_type);
	return 0;
}
