/* SPDX-License-Identifier: Apache-2.0 */
/* States of address spaces and mappings. */
#include "probe.h"

#ifndef SYS_mseal
#define SYS_mseal 462
#endif
#define PAGES(n) ((n) * 4096ul)

static void *map(size_t length, int flags)
{
	void *address = mmap(NULL, length, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	return address == MAP_FAILED ? NULL : address;
}

static int make_mdwe(void) { return prctl(65, 1, 0, 0, 0) ? errno : 0; }
static void tell_mdwe(FILE *out)
{
	void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int refused = mprotect(page, 4096, PROT_READ | PROT_EXEC);

	fprintf(out, "%d %s", prctl(66, 0, 0, 0, 0), refused ? strerror(errno) : "executable");
	munmap(page, 4096);
}

static char *sealed;
static int make_mseal(void)
{
	sealed = map(PAGES(3), MAP_PRIVATE);
	strcpy(sealed, "sealed");
	return mprotect(sealed, PAGES(3), PROT_READ) || syscall(SYS_mseal, sealed, PAGES(3), 0) ? errno : 0;
}
static void tell_mseal(FILE *out)
{
	fprintf(out, "%s", mprotect(sealed, PAGES(3), PROT_READ | PROT_WRITE) ? strerror(errno) : "open");
	fprintf(out, " %s", munmap(sealed, PAGES(3)) ? strerror(errno) : "gone");
	fprintf(out, " %s", sealed);
}

static char *sealed_file;
static int make_mseal_file(void)
{
	int fd = open("/proc/self/exe", O_RDONLY);

	sealed_file = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	close(fd);
	sealed_file[1] = 'Z';
	return mprotect(sealed_file, 4096, PROT_READ) || syscall(SYS_mseal, sealed_file, 4096, 0) ? errno : 0;
}
static void tell_mseal_file(FILE *out)
{
	fprintf(out, "%s %.3s", mprotect(sealed_file, 4096, PROT_READ | PROT_WRITE) ? strerror(errno) : "open", sealed_file + 1);
}

static int make_merge(void) { return prctl(67, 1, 0, 0, 0) ? errno : 0; }
static void tell_merge(FILE *out) { fprintf(out, "%d", prctl(68, 0, 0, 0, 0)); }

static int make_thp(void) { return prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) ? errno : 0; }
static int make_thp_except(void) { return prctl(PR_SET_THP_DISABLE, 1, 2, 0, 0) ? errno : 0; }
static void tell_thp(FILE *out) { fprintf(out, "%d", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0)); }

/* What a new mapping is like, and whether it has its page at once. */
static int make_future(void) { return mlockall(MCL_FUTURE) ? errno : 0; }
static int make_onfault(void) { return mlockall(MCL_FUTURE | MCL_ONFAULT) ? errno : 0; }
static void tell_future(FILE *out)
{
	unsigned char resident = 9;
	void *page = map(4096, MAP_PRIVATE);

	mincore(page, 4096, &resident);
	tell_smaps(out, page, "VmFlags:");
	fprintf(out, "resident %d", resident & 1);
	munmap(page, 4096);
}

static void tell_policy_of(FILE *out, void *address)
{
	int mode = -1;
	unsigned long nodes[16] = { 0 };

	syscall(SYS_get_mempolicy, &mode, nodes, 1024, address, address ? 2 : 0);
	fprintf(out, "%x:%lx ", mode, nodes[0]);
}

/* MPOL_INTERLEAVE 3, MPOL_BIND 2, MPOL_PREFERRED 1, MPOL_F_STATIC_NODES 0x8000, MPOL_F_RELATIVE_NODES 0x4000 */
static const unsigned long node0 = 1;
static int policy_error;
static int make_policy(void) { return syscall(SYS_set_mempolicy, 3 | 0x8000, &node0, 64) ? errno : 0; }
static void tell_policy(FILE *out) { tell_policy_of(out, NULL); }

static void thread_policy(FILE *out)
{
	(void)out;
	policy_error = syscall(SYS_set_mempolicy, 2, &node0, 64) ? errno : 0;
}
static int make_thread_policy(void) { on_thread(thread_policy, NULL); return policy_error; }
static void thread_policy_told(FILE *out) { tell_policy_of(out, NULL); }
static void tell_thread_policy(FILE *out) { on_thread(thread_policy_told, out); }

static char *bound;
static int make_bound(void)
{
	bound = map(PAGES(8), MAP_PRIVATE);
	bound[PAGES(3)] = 'b';
	return syscall(SYS_mbind, bound, PAGES(2), 3, &node0, 64, 0) ||
	       syscall(SYS_mbind, bound + PAGES(2), PAGES(2), 1 | 0x4000, &node0, 64, 0) ? errno : 0;
}
static void tell_bound(FILE *out)
{
	for (int page = 0; page < 6; page++)
		tell_policy_of(out, bound + PAGES(page));
	fprintf(out, "%c", bound[PAGES(3)]);
}

static char *shared;
static int make_shared(void)
{
	shared = map(PAGES(4), MAP_SHARED);
	shared[0] = 's';
	return syscall(SYS_mbind, shared, PAGES(2), 3, &node0, 64, 0) ? errno : 0;
}
static void tell_shared(FILE *out)
{
	for (int page = 0; page < 4; page++)
		tell_policy_of(out, shared + PAGES(page));
	fprintf(out, "%c", shared[0]);
}

/* Anonymous shared memory that is open, and mapped privately, too: /proc/PID/map_files leads to it. */
static char *three;
static int three_fd;
static char *three_private;
static int make_three(void)
{
	char path[80];

	three = map(PAGES(2), MAP_SHARED);
	snprintf(path, sizeof path, "/proc/self/map_files/%lx-%lx", (long)three, (long)three + PAGES(2));
	if ((three_fd = open(path, O_RDWR)) < 0)
		return errno;
	three_private = mmap(NULL, PAGES(2), PROT_READ | PROT_WRITE, MAP_PRIVATE, three_fd, 0);
	return three_private == MAP_FAILED ? errno : 0;
}
static void tell_three(FILE *out)
{
	static int round;
	char read_back[16] = "";

	snprintf(three, 16, "round %d", ++round);
	if (pread(three_fd, read_back, sizeof read_back - 1, 0) < 0)
		read_back[0] = '?';
	fprintf(out, "%d %d", strcmp(three, read_back), strcmp(three, three_private));
}

/* A mapping with a policy in a process whose own policy is another: "default" of a mapping is then no default. */
static char *under;
static int make_both(void)
{
	under = map(PAGES(4), MAP_PRIVATE);
	return syscall(SYS_mbind, under, PAGES(2), 2, &node0, 64, 0) ||
	       syscall(SYS_set_mempolicy, 3, &node0, 64) ? errno : 0;
}
static void tell_both(FILE *out)
{
	tell_policy_of(out, NULL);
	tell_policy_of(out, under);
	tell_policy_of(out, under + PAGES(3));
}

static char *keyed;
static int key = -1, spare = -1;
static int make_pkey(void)
{
	if ((spare = pkey_alloc(0, 0)) < 0 || (key = pkey_alloc(0, PKEY_DISABLE_WRITE)) < 0)
		return errno;
	keyed = map(4096, MAP_PRIVATE);
	strcpy(keyed, "keyed");
	pkey_free(spare);
	return pkey_mprotect(keyed, 4096, PROT_READ | PROT_WRITE, key) ? errno : 0;
}
static void tell_pkey(FILE *out)
{
	int next = pkey_alloc(0, 0);

	tell_smaps(out, keyed, "ProtectionKey:");
	fprintf(out, " rights %d next %d %s", pkey_get(key), next, keyed);
	pkey_free(next);
}

PROBES({ "mdwe", make_mdwe, tell_mdwe }, { "mseal", make_mseal, tell_mseal }, { "mseal-file", make_mseal_file, tell_mseal_file },
       { "merge", make_merge, tell_merge }, { "thp", make_thp, tell_thp }, { "thp-except", make_thp_except, tell_thp },
       { "future", make_future, tell_future }, { "onfault", make_onfault, tell_future },
       { "policy", make_policy, tell_policy }, { "thread-policy", make_thread_policy, tell_thread_policy },
       { "bound", make_bound, tell_bound }, { "shared", make_shared, tell_shared }, { "both", make_both, tell_both },
       { "three", make_three, tell_three },
       { "pkey", make_pkey, tell_pkey })
