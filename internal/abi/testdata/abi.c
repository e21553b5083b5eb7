// Prints the values that package abi repeats, as "NAME VALUE" lines, from the
// headers of the host's kernel.
#include <stddef.h>
#include <stdio.h>

#include <asm/hwcap2.h>
#include <asm/prctl.h>
#include <asm/siginfo.h>
#include <linux/auxvec.h>
#include <linux/futex.h>
#include <linux/reboot.h>
#include <linux/seccomp.h>
#include <linux/signal.h>

#define SAY(name, value) printf("%s %lld\n", name, (long long)(value))
#define C(name) SAY(#name, name)
#define OFF(name, type, field) SAY(name, offsetof(type, field))

int main(void)
{
	C(FUTEX_WAIT);
	C(FUTEX_WAKE);
	C(FUTEX_REQUEUE);
	C(FUTEX_CMP_REQUEUE);
	C(FUTEX_WAKE_OP);
	C(FUTEX_OP_SET);
	C(FUTEX_OP_ADD);
	C(FUTEX_OP_OR);
	C(FUTEX_OP_ANDN);
	C(FUTEX_OP_XOR);
	C(FUTEX_OP_OPARG_SHIFT);
	C(FUTEX_OP_CMP_EQ);
	C(FUTEX_OP_CMP_NE);
	C(FUTEX_OP_CMP_LT);
	C(FUTEX_OP_CMP_LE);
	C(FUTEX_OP_CMP_GT);
	C(FUTEX_OP_CMP_GE);
	SAY("FUTEX_WAITERS", (unsigned)FUTEX_WAITERS);
	C(FUTEX_OWNER_DIED);
	C(FUTEX_TID_MASK);
	SAY("ROBUST_LIST_SIZE", sizeof(struct robust_list_head));
	OFF("ROBUST_LIST_OFF_OFFSET", struct robust_list_head, futex_offset);
	OFF("ROBUST_LIST_OFF_PENDING", struct robust_list_head, list_op_pending);
	C(ROBUST_LIST_LIMIT);
	C(FUTEX_WAIT_BITSET);
	C(FUTEX_WAKE_BITSET);
	C(FUTEX_PRIVATE_FLAG);
	C(FUTEX_CLOCK_REALTIME);
	SAY("FUTEX_BITSET_MATCH_ANY", (unsigned)FUTEX_BITSET_MATCH_ANY);

	C(SA_NOCLDSTOP);
	C(SA_NOCLDWAIT);
	C(SA_SIGINFO);
	C(SA_UNSUPPORTED);
	C(SA_EXPOSE_TAGBITS);
	C(SA_RESTORER);
	C(SA_ONSTACK);
	C(SA_RESTART);
	C(SA_NODEFER);
	SAY("SA_RESETHAND", (unsigned)SA_RESETHAND);
	SAY("SIG_DFL", (size_t)SIG_DFL);
	SAY("SIG_IGN", (size_t)SIG_IGN);
	C(SS_ONSTACK);
	C(SS_DISABLE);
	SAY("SS_AUTODISARM", (unsigned)SS_AUTODISARM);
	C(MINSIGSTKSZ);

	C(SI_USER);
	C(SI_KERNEL);
	C(SI_TKILL);
	C(SI_QUEUE);
	C(SI_TIMER);
	C(SEGV_MAPERR);
	C(SEGV_ACCERR);
	C(BUS_ADRERR);
	C(SYS_SECCOMP);
	C(CLD_EXITED);
	C(CLD_KILLED);
	C(CLD_DUMPED);
	C(CLD_STOPPED);
	C(CLD_CONTINUED);

	SAY("SI_SIZE", sizeof(siginfo_t));
	OFF("SI_OFF_SIGNO", siginfo_t, si_signo);
	OFF("SI_OFF_CODE", siginfo_t, si_code);
	OFF("SI_OFF_PID", siginfo_t, si_pid);
	OFF("SI_OFF_UID", siginfo_t, si_uid);
	OFF("SI_OFF_ADDR", siginfo_t, si_addr);
	OFF("SI_OFF_STATUS", siginfo_t, si_status);
	OFF("SI_OFF_UTIME", siginfo_t, si_utime);
	OFF("SI_OFF_STIME", siginfo_t, si_stime);
	OFF("SI_OFF_VALUE", siginfo_t, si_value);
	OFF("SI_OFF_TIMERID", siginfo_t, si_tid);
	OFF("SI_OFF_OVERRUN", siginfo_t, si_overrun);

	C(SIGEV_SIGNAL);
	C(SIGEV_NONE);
	C(SIGEV_THREAD);
	C(SIGEV_THREAD_ID);
	SAY("SIGEV_SIZE", sizeof(struct sigevent));
	OFF("SIGEV_OFF_VALUE", struct sigevent, sigev_value);
	OFF("SIGEV_OFF_SIGNO", struct sigevent, sigev_signo);
	OFF("SIGEV_OFF_NOTIFY", struct sigevent, sigev_notify);
	OFF("SIGEV_OFF_TID", struct sigevent, _sigev_un._tid);
	OFF("SI_OFF_CALL_ADDR", siginfo_t, si_call_addr);
	OFF("SI_OFF_SYSCALL", siginfo_t, si_syscall);
	OFF("SI_OFF_ARCH", siginfo_t, si_arch);

	C(ARCH_SET_GS);
	C(LINUX_REBOOT_MAGIC2A);
	C(LINUX_REBOOT_MAGIC2B);
	C(LINUX_REBOOT_MAGIC2C);
	C(ARCH_SET_FS);
	C(ARCH_GET_FS);
	C(ARCH_GET_GS);

	C(AT_NULL);
	C(AT_PHDR);
	C(AT_PHENT);
	C(AT_PHNUM);
	C(AT_PAGESZ);
	C(AT_BASE);
	C(AT_FLAGS);
	C(AT_ENTRY);
	C(AT_UID);
	C(AT_EUID);
	C(AT_GID);
	C(AT_EGID);
	C(AT_PLATFORM);
	C(AT_HWCAP);
	C(AT_CLKTCK);
	C(AT_SECURE);
	C(AT_RANDOM);
	C(AT_HWCAP2);
	C(AT_EXECFN);
	C(AT_SYSINFO_EHDR);
	C(AT_MINSIGSTKSZ);
	C(HWCAP2_FSGSBASE);

	SAY("SeccompData", sizeof(struct seccomp_data));
	OFF("SeccompData.NR", struct seccomp_data, nr);
	OFF("SeccompData.Arch", struct seccomp_data, arch);
	OFF("SeccompData.InstructionPointer", struct seccomp_data, instruction_pointer);
	OFF("SeccompData.Args", struct seccomp_data, args);
	SAY("SeccompNotif", sizeof(struct seccomp_notif));
	OFF("SeccompNotif.ID", struct seccomp_notif, id);
	OFF("SeccompNotif.PID", struct seccomp_notif, pid);
	OFF("SeccompNotif.Flags", struct seccomp_notif, flags);
	OFF("SeccompNotif.Data", struct seccomp_notif, data);
	SAY("SeccompNotifResp", sizeof(struct seccomp_notif_resp));
	OFF("SeccompNotifResp.ID", struct seccomp_notif_resp, id);
	OFF("SeccompNotifResp.Val", struct seccomp_notif_resp, val);
	OFF("SeccompNotifResp.Error", struct seccomp_notif_resp, error);
	OFF("SeccompNotifResp.Flags", struct seccomp_notif_resp, flags);
	return 0;
}
