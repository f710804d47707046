/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of huge pages (hugetlb). */
#include "probe.h"
#include <sys/shm.h>

#define PAGE (2ul << 20)

/* At the start of the first page, and at the end of the second; the third is never touched. */
static void *filled(void *memory)
{
	strcpy(memory, "huge");
	strcpy((char *)memory + 2 * PAGE - 16, "pages");
	return memory;
}
static void tell(FILE *out, char *memory)
{
	tell_smaps(out, memory, "KernelPageSize:");
	tell_smaps(out, memory, "VmFlags:");
	fprintf(out, " %s %s", memory, memory + 2 * PAGE - 16);
}

static void *map(int flags, int fd)
{
	void *memory = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);

	return memory == MAP_FAILED ? NULL : filled(memory);
}

static char *private, *shared, *of_memfd, *segment;
static int memfd, segment_id;
static int make_private(void) { return (private = map(MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1)) ? 0 : errno; }
static void tell_private(FILE *out) { tell(out, private); }
static int make_shared(void) { return (shared = map(MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1)) ? 0 : errno; }
static void tell_shared(FILE *out) { tell(out, shared); }
static int make_memfd(void)
{
	memfd = memfd_create("huge", MFD_HUGETLB);
	if (memfd < 0 || ftruncate(memfd, 3 * PAGE))
		return errno;
	return (of_memfd = map(MAP_SHARED, memfd)) ? 0 : errno;
}
static void tell_memfd(FILE *out)
{
	struct stat stat;
	char text[8] = "";

	fstat(memfd, &stat);
	pread(memfd, text, 5, 0);
	fprintf(out, "%ld %ld %s", (long)stat.st_size, (long)stat.st_blksize, text);
	tell(out, of_memfd);
}
static int make_segment(void)
{
	segment_id = shmget(IPC_PRIVATE, 3 * PAGE, IPC_CREAT | SHM_HUGETLB | 0600);
	segment = segment_id < 0 ? (void *)-1 : shmat(segment_id, NULL, 0);
	if (segment == (void *)-1)
		return errno;
	filled(segment);
	return shmctl(segment_id, IPC_RMID, NULL) ? errno : 0;
}
static void tell_segment(FILE *out)
{
	struct shmid_ds about;

	shmctl(segment_id, IPC_STAT, &about);
	fprintf(out, "%lu", (unsigned long)about.shm_nattch);
	tell(out, segment);
}

PROBES({ "private", make_private, tell_private }, { "shared", make_shared, tell_shared }, { "memfd", make_memfd, tell_memfd },
	{ "segment", make_segment, tell_segment })
