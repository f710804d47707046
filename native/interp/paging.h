// SPDX-License-Identifier: Apache-2.0
/* What the pager (pager.h) is made of, and how everything ends when it cannot go on. */
#pragma once
#include "load.h"

enum {
	SYS_read = 0, SYS_poll = 7, SYS_sched_yield = 24, SYS_recvmsg = 47, SYS_getppid = 110, SYS_dup3 = 292,
	SYS_pidfd_send_signal = 424, SYS_pidfd_open = 434,
	UFFDIO_WAKE = 0x8010aa02, UFFDIO_ZEROPAGE = 0xc020aa04,
	UFFD_EVENT_PAGEFAULT = 0x12, UFFD_EVENT_FORK = 0x13, UFFD_EVENT_REMAP = 0x14, UFFD_EVENT_REMOVE = 0x15, UFFD_EVENT_UNMAP = 0x16,
	EINTR = 4, EBADF = 9, ENOMEM = 12, ENOTTY = 25,
	POLLIN = 1, O_CLOEXEC = 02000000, MSG_CMSG_CLOEXEC = 0x40000000,
	/* Of a chunk: a mask has 64 bits. */
	MAX_PAGES = 64,
	/* What nobody waits for begins so much later: the program, just let go, may be next on the processor that the pager woke up on. */
	FIRST_TURN_MS = 2,
	MAX_SPACES = 1 << 16, MAX_FAULTS = 1 << 16, MOST_TRIES = 500, NO_SPACE = 0xffffffff,
	/* The image, the socket and the keeper have these descriptors; whatever else the pager has open belongs to the program. */
	KEEPER_FD = 5, MAX_FD = 1 << 20,
};

/* Stored bytes that belong together. */
struct chunk {
	uint64_t address, file_offset;
	uint32_t length, sum;
};

/* [start, end) of the present is [origin, …) of the dump. */
struct segment {
	uint64_t start, end, origin;
};

/* An address space: one of the tree, or one that a fork has made since. */
struct space {
	int32_t fd; /* its userfaultfd; negative: the room is free */
	uint32_t num_segments, room;
	uint64_t count, next;
	const struct chunk *chunks;
	uint64_t *masks;
	struct segment *segments;
};

struct fault {
	uint64_t address;
	uint32_t space;
};

struct poll {
	int32_t fd;
	uint16_t wanted, got;
};

/* struct uffd_msg: a, b, c are flags and address of a fault; the descriptor of a fork; from, to, length; start, end. */
struct message {
	uint8_t event, reserved[7];
	uint64_t a, b, c;
};

struct pager {
	int32_t socket;
	uint32_t num_spaces, tries;
	int is_summed;
	struct crc32c crc;
	struct inflating inflating;
	uint32_t *failure;
	uint8_t *buffer;
	const struct chunk *buffered;
	struct space *spaces;
	struct poll *polls;
	struct fault *faults; /* a ring */
	uint64_t first, last;
};

static int64_t ioctl(int32_t fd, uint64_t request, void *argument)
{
	return sys(SYS_ioctl, (uint64_t)fd, request, (uint64_t)argument);
}

static void sleep_ms(uint64_t ms)
{
	uint64_t time[2] = { 0, ms * 1000000 };
	sys(SYS_nanosleep, (uint64_t)time, 0, 0);
}

/* What follows `name` of a descriptor in /proc, a number; -1 if there is none. */
static int64_t fdinfo_of(uint64_t fd, const char *name)
{
	char path[64], text[512];
	append_number(append(path, "/proc/self/fdinfo/"), fd);
	int64_t info = syscall6(SYS_openat, (uint64_t)-100, (uint64_t)path, O_CLOEXEC, 0, 0, 0);
	int64_t length = is_error(info) ? 0 : sys(SYS_read, (uint64_t)info, (uint64_t)text, sizeof text - 1);
	if (!is_error(info)) sys(SYS_close, (uint64_t)info, 0, 0);
	if (length <= 0) return -1;
	text[length] = 0;
	for (char *at = text; *at; at++) {
		if (!starts_with(at, name)) continue;
		int64_t number = 0;
		for (at += length_of(name); *at == ' ' || *at == '\t';) at++;
		if (*at < '0' || *at > '9') return -1;
		for (; *at >= '0' && *at <= '9'; at++) number = number * 10 + (*at - '0');
		return number;
	}
	return -1;
}

/* Kills the children that a process has made since, and theirs; what is only a thread's own business costs nothing here. */
static void kill_children(int64_t pid, uint32_t depth)
{
	char path[64], text[2048];
	append(append_number(append(append_number(append(path, "/proc/"), (uint64_t)pid), "/task/"), (uint64_t)pid), "/children");
	int64_t list = syscall6(SYS_openat, (uint64_t)-100, (uint64_t)path, O_CLOEXEC, 0, 0, 0);
	if (is_error(list)) return;
	int64_t length = sys(SYS_read, (uint64_t)list, (uint64_t)text, sizeof text - 1);
	sys(SYS_close, (uint64_t)list, 0, 0);
	int64_t child = 0;
	for (int64_t i = 0; i < length; i++) {
		if (text[i] != ' ') {
			child = child * 10 + (text[i] - '0');
			continue;
		}
		if (child && depth < 8) kill_children(child, depth + 1);
		if (child) sys(SYS_kill, (uint64_t)child, SIGKILL, 0);
		child = 0;
	}
}

/*
 * Ends the program whose memory cannot be had any more. The last descriptor of a userfaultfd must not be closed before: from
 * then on what is missing would read as zeros. So the pager and its keeper share one table of descriptors; whichever of them
 * is left when the other dies kills the tasks by their pidfds, with the children that they have, and leaves only when no
 * address space is left. A process that is found by neither way waits for its page until somebody kills it.
 */
static void kill_program(void)
{
	for (uint64_t living = 1, turn = 0; living; turn++) {
		living = !turn;
		for (uint64_t fd = 0, closed = 0; fd < MAX_FD && closed < 65536; fd++) {
			uint64_t zero[4] = { 0x7fffffffe000, PAGE, 0, 0 }; /* the last page that a program can have */
			if (fd >= 3 && fd <= KEEPER_FD) continue;
			if (!turn) {
				int64_t pid = fdinfo_of(fd, "Pid:");
				if (pid > 0) kill_children(pid, 0);
			}
			/* -ESRCH: its address space is gone. */
			int64_t result = turn ? ioctl((int32_t)fd, UFFDIO_ZEROPAGE, zero) :
				syscall6(SYS_pidfd_send_signal, fd, SIGKILL, 0, 0, 0, 0);
			closed = result == -EBADF ? closed + 1 : 0;
			if (!turn && closed > 64) break;
			if (turn && result != -EBADF && result != -ESRCH && result != -ENOTTY && result != -EINVAL) living++;
		}
		if (turn && living) sleep_ms(5);
	}
}

static __attribute__((noreturn, noinline)) void give_up(struct pager *pager, int64_t result)
{
	__atomic_store_n(pager->failure, (uint32_t)-result, __ATOMIC_SEQ_CST);
	kill_program();
	for (;;) sys(SYS_exit_group, EXIT_RESTORE_FAILED, 0, 0);
}

/* Memory that takes none until it is used. There is no way on without it; the keeper sees to the rest. */
static void *allocate(uint64_t size)
{
	int64_t at = syscall6(SYS_mmap, 0, size ? size : PAGE, 3, 0x4022, (uint64_t)-1, 0);
	if (is_error(at)) for (;;) sys(SYS_exit_group, EXIT_RESTORE_FAILED, 0, 0);
	return (void *)at;
}

static void release(void *at, uint64_t size)
{
	sys(SYS_munmap, (uint64_t)at, size ? size : PAGE, 0);
}

static struct fault *fault_at(struct pager *pager, uint64_t index)
{
	return pager->faults + index % MAX_FAULTS;
}

static void note_fault(struct pager *pager, uint32_t which, uint64_t address)
{
	if (pager->last - pager->first < MAX_FAULTS) {
		*fault_at(pager, pager->last++) = (struct fault){ address, which };
		return;
	}
	/* Whoever waits asks again. */
	uint64_t range[2] = { address, PAGE };
	ioctl(pager->spaces[which].fd, UFFDIO_WAKE, range);
}
