/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy of one mount of another mount namespace, without what is mounted on it, and so with what lies under that: open_tree(2)
 * must be called in that namespace, which a process with several threads cannot enter. So a child does it, which shares the table
 * of descriptors. It shares memory too, but where it must enter the user namespace first: that changes its credentials.
 */
#ifndef CRIMG_MOUNT_COPY_H
#define CRIMG_MOUNT_COPY_H

#include "trainee.h"

struct mount_copy {
	char mount_namespace[64], user_namespace[64]; /* their files of /proc; the second is empty where it is not to be entered */
	const char *path;
	int64_t into; /* an open descriptor, which becomes that of the copy */
};

/* Enters the namespace of a file of /proc. Returns 0 or -errno. */
static int64_t enter_namespace(const char *file, int64_t kind)
{
	int64_t fd = call(__NR_openat, -100, address_of(file), 02000000 /* O_CLOEXEC */, 0);
	int64_t result = fd < 0 ? fd : call(__NR_setns, fd, kind, 0, 0);

	if (fd >= 0)
		call(__NR_close, fd, 0, 0, 0);
	return result;
}

/* What the child does. It ends with the errno, or 0. */
static void copy_mount_there(int64_t address)
{
	const struct mount_copy *copy = (const struct mount_copy *)(uintptr_t)address;
	int64_t result = copy->user_namespace[0] ? enter_namespace(copy->user_namespace, 0x10000000 /* CLONE_NEWUSER */) : 0, fd;

	if (!result)
		result = enter_namespace(copy->mount_namespace, 0x20000 /* CLONE_NEWNS */);
	if (!result) {
		fd = call(__NR_open_tree, -100, address_of(copy->path), 02000001 /* OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC */, 0);
		result = fd < 0 ? fd : call(__NR_dup3, fd, copy->into, 02000000 /* O_CLOEXEC */, 0);
		if (fd >= 0)
			call(__NR_close, fd, 0, 0, 0);
		if (result > 0)
			result = 0;
	}
	for (;;)
		call(__NR_exit_group, -result & 255, 0, 0, 0);
}

/* Makes the copy. Returns 0 or -errno. */
static int64_t copy_mount(struct mount_copy *copy)
{
	static uint8_t stack[TRAINEE_STACK] __attribute__((aligned(64)));
	/* struct clone_args: CLONE_FILES | CLONE_CLEAR_SIGHAND, and CLONE_VM | CLONE_VFORK; no exit signal. */
	int shares = !copy->user_namespace[0];
	const uint64_t arguments[8] = { 0x400ull | 1ull << 32 | (shares ? 0x4100ull : 0), 0, 0, 0, 0,
					shares ? (uint64_t)address_of(stack) : 0, shares ? sizeof(stack) : 0, 0 };
	int64_t pid = clone_without_signals(arguments, copy_mount_there, address_of(copy)), result;
	int32_t status = 0;

	if (pid < 0)
		return pid;
	result = await_child(pid, &status);
	if (result)
		return result;
	return status & 127 ? -EIO : -(status >> 8 & 255);
}

#endif
