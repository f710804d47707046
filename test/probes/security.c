/* SPDX-License-Identifier: Apache-2.0 */
/* Controls of a thread, told in a second thread. */
#include "probe.h"
#include <asm/ldt.h>
#include <sys/resource.h>

static int made;
static void (*work_there)(void);
static void there(FILE *out) { (void)out; errno = 0; work_there(); }
static int on_other(void (*work)(void)) { work_there = work; on_thread(there, NULL); return made; }

static void tsc_there(void) { made = prctl(PR_SET_TSC, PR_TSC_SIGSEGV) ? errno : 0; }
static int make_tsc(void) { return on_other(tsc_there); }
static void tsc(FILE *out)
{
	int mode = 0;

	prctl(PR_GET_TSC, &mode);
	fprintf(out, "%d", mode);
}
static void tell_tsc(FILE *out) { on_thread(tsc, out); }

static void mce_there(void) { made = prctl(PR_MCE_KILL, 1, 1, 0, 0) ? errno : 0; }
static int make_mce(void) { return on_other(mce_there); }
static void mce(FILE *out) { fprintf(out, "%d", prctl(PR_MCE_KILL_GET, 0, 0, 0, 0)); }
static void tell_mce(FILE *out) { on_thread(mce, out); }

static void cpuid_there(void) { made = syscall(SYS_arch_prctl, 0x1012, 0) ? errno : 0; }
static int make_cpuid(void) { return on_other(cpuid_there); }
static void cpuid(FILE *out) { fprintf(out, "%ld", syscall(SYS_arch_prctl, 0x1011, 0)); }
static void tell_cpuid(FILE *out) { on_thread(cpuid, out); }

static void flusher_there(void) { made = prctl(57, 1, 0, 0, 0) ? errno : 0; }
static int make_flusher(void) { return on_other(flusher_there); }
static void flusher(FILE *out) { fprintf(out, "%d", prctl(58, 0, 0, 0, 0)); }
static void tell_flusher(FILE *out) { on_thread(flusher, out); }

static int controls[3] = { 4, 4, 2 }; /* PR_SPEC_DISABLE twice, PR_SPEC_ENABLE */
static int which;
static void speculation_there(void) { made = prctl(53, which, controls[which], 0, 0) ? errno : 0; }
static void speculation(FILE *out) { fprintf(out, "%d", prctl(52, which, 0, 0, 0)); }
static int make_bypass(void) { which = 0; return on_other(speculation_there); }
static void tell_bypass(FILE *out) { which = 0; on_thread(speculation, out); }
static int make_branch(void) { which = 1; return on_other(speculation_there); }
static void tell_branch(FILE *out) { which = 1; on_thread(speculation, out); }
static int make_l1d(void) { which = 2; return on_other(speculation_there); }
static void tell_l1d(FILE *out) { which = 2; on_thread(speculation, out); }

struct attributes { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority; uint64_t runtime, deadline, period; };
static void slice_there(void)
{
	struct attributes attributes = { .size = 48, .runtime = 7000000 };

	made = syscall(SYS_sched_setattr, 0, &attributes, 0) ? errno : 0;
}
static int make_slice(void) { return on_other(slice_there); }
static void slice(FILE *out)
{
	struct attributes attributes = { 0 };

	syscall(SYS_sched_getattr, 0, &attributes, 48, 0);
	fprintf(out, "%lu", attributes.runtime);
}
static void tell_slice(FILE *out) { on_thread(slice, out); }

static void affinity_there(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	made = sched_setaffinity(0, sizeof set, &set) ? errno : 0;
}
static int make_affinity(void) { return on_other(affinity_there); }
static void affinity(FILE *out)
{
	cpu_set_t set;

	sched_getaffinity(0, sizeof set, &set);
	fprintf(out, "%d of %d", CPU_ISSET(0, &set), CPU_COUNT(&set));
}
static void tell_affinity(FILE *out) { on_thread(affinity, out); }

static char segment[4096] __attribute__((aligned(4096)));
static int make_ldt(void)
{
	struct user_desc entry = { .entry_number = 3, .base_addr = (uintptr_t)segment, .limit = 0xabc, .seg_32bit = 1, .useable = 1 };

	/* a segment's base has 32 bits: a position-independent program is above */
	entry.base_addr = 0x12345000;
	return syscall(SYS_modify_ldt, 0x11, &entry, sizeof entry) ? errno : 0;
}
static void tell_ldt(FILE *out)
{
	unsigned long entries[8] = { 0 };
	long length = syscall(SYS_modify_ldt, 0, entries, sizeof entries);

	for (int index = 0; index < 5; index++)
		fprintf(out, "%lx ", entries[index] & ~(1ul << 40)); /* accessed */
	fprintf(out, "%ld %d", length, segment[0]);
}

static int make_autogroup(void)
{
	int fd = open("/proc/self/autogroup", O_WRONLY), ok;

	if (fd < 0)
		return errno;
	ok = write(fd, "6", 1) == 1;
	close(fd);
	return ok ? 0 : errno;
}
static void tell_autogroup(FILE *out)
{
	char line[100] = "";
	FILE *file = fopen("/proc/self/autogroup", "r");

	if (file && fgets(line, sizeof line, file))
		line[strcspn(line, "\n")] = 0;
	if (file)
		fclose(file);
	fprintf(out, "%s", strstr(line, "nice") ? strstr(line, "nice") : line);
}

static pid_t dead;
static int make_zombie(void)
{
	siginfo_t info;

	dead = fork();
	if (dead == 0) {
		prctl(PR_SET_NAME, "late one");
		_exit(3);
	}
	return waitid(P_PID, dead, &info, WEXITED | WNOWAIT) ? errno : 0;
}
static void tell_zombie(FILE *out)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/comm", dead);
	tell_file(out, path);
}

PROBES({ "tsc", make_tsc, tell_tsc }, { "mce", make_mce, tell_mce }, { "cpuid", make_cpuid, tell_cpuid },
       { "flusher", make_flusher, tell_flusher }, { "bypass", make_bypass, tell_bypass },
       { "branch", make_branch, tell_branch }, { "l1d", make_l1d, tell_l1d }, { "slice", make_slice, tell_slice },
       { "affinity", make_affinity, tell_affinity }, { "ldt", make_ldt, tell_ldt },
       { "autogroup", make_autogroup, tell_autogroup }, { "zombie", make_zombie, tell_zombie })
