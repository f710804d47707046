// SPDX-License-Identifier: Apache-2.0
/* What a task of the restore knows, and how everything ends when one op fails: nothing half-alive stays. */
#pragma once
#include "base.h"

/* What run() needs to know of the process or thread that executes it. */
struct context {
	struct restore_program_header *program;
	struct restore_control_header *control;
	uint64_t *slots;
	uint8_t *data;
	uint64_t *auxv;
	/* Compressed stored bytes; see the op frames. */
	const struct restore_frame *frames;
	uint64_t num_frames;
	/* 1 + the userfaultfd that stored pages come by, 0: none; see the op populate. */
	int32_t filler;
};

/*
 * What whoever runs ops has for itself, beside the context that all threads of a process share: the row that the ops are run for
 * (see the op each), and slots of its own.
 */
struct own {
	const uint8_t *row; /* 0: none */
	uint64_t stride, left;
	uint32_t body;
	uint64_t locals[16];
};

enum { FIRST_LOCAL = 0x80000000, NUM_LOCALS = 16 };

static const char *text_at(struct context *context, uint32_t offset)
{
	return (const char *)context->data + offset;
}

static struct restore_op *op_at(struct context *context, uint32_t index)
{
	return (struct restore_op *)((uint8_t *)context->program + context->program->ofs_ops) + index;
}

static uint32_t *counter_at(struct context *context, uint32_t index)
{
	return (uint32_t *)(context->control + 1) + index;
}

static void futex_wake_all(uint32_t *word)
{
	sys(SYS_futex, (uint64_t)word, 1, 0x7fffffff);
}

static void wake_everybody(struct context *context)
{
	for (uint32_t i = 0; i < context->program->num_counters; i++) futex_wake_all(counter_at(context, i));
}

static void add_dead(struct line *line, struct restore_control_header *control)
{
	add(line, "process ");
	add_number(line, control->dead_pid);
	add(line, control->failed_result ? " was ended by signal " : " ended");
	if (control->failed_result) add_number(line, (uint64_t)control->failed_result);
	add(line, " before the tree ran");
}

/*
 * How this process sees the ids of a tree that has a pid namespace of its own: those in the control area are the tree's.
 * From the outside only the first process of that namespace is known, by a counter.
 */
static uint64_t pid_view(struct context *context)
{
	return context->slots[RESTORE_OPTION_SLOT_PID_VIEW];
}

static uint32_t first_of_namespace(struct context *context)
{
	return __atomic_load_n(counter_at(context, (uint32_t)pid_view(context) - RESTORE_PID_VIEW_OUTSIDE), __ATOMIC_SEQ_CST);
}

static uint32_t load4(const uint8_t *at)
{
	uint32_t value;
	__builtin_memcpy(&value, at, sizeof value);
	return value;
}

/* A text of an op; U+0001 stands for what its row is about. */
static void add_text(struct line *line, struct context *context, const uint8_t *row, uint32_t offset)
{
	if (offset & FIRST_LOCAL) offset = row ? load4(row + (offset & ~FIRST_LOCAL)) : 0;
	for (const char *text = offset < context->program->len_data ? text_at(context, offset) : ""; *text; text++) {
		char one[2] = { *text, 0 };
		if (*text == 1 && row) add_number(line, load4(row));
		else add(line, one);
	}
}

/* The kernel ends a whole pid namespace with its first process. */
static void kill_tree(struct context *context)
{
	uint32_t *pids = counter_at(context, context->program->num_counters);
	if (pid_view(context) >= RESTORE_PID_VIEW_OUTSIDE) {
		uint32_t first = first_of_namespace(context);
		if (first) sys(SYS_kill, first, SIGKILL, 0);
		return;
	}
	for (uint32_t i = 0; i < context->program->num_pids; i++)
		if (pids[i]) sys(SYS_kill, pids[i], SIGKILL, 0);
}

/*
 * Only the process that the caller started does this. It is the child subreaper of everything it made, so when the
 * last wait says ECHILD, nothing of the tree is left.
 */
static __attribute__((noreturn, noinline)) void report(struct context *context)
{
	struct restore_program_header *program = context->program;
	struct restore_control_header *control = context->control;
	int64_t waited;
	__atomic_store_n(&control->aborted, 1, __ATOMIC_SEQ_CST);
	wake_everybody(context);
	do {
		kill_tree(context);
		waited = sys(SYS_wait4, (uint64_t)-1, 0, WALL);
	} while (waited > 0);

	struct line line;
	line.length = 0;
	add(&line, "crimg: ");
	if (!control->claimed) {
		add(&line, "the restored tree ended before it ran");
	} else if (control->dead_pid) {
		add_dead(&line, control);
	} else {
		struct restore_op *op = op_at(context, control->failed_op);
		const uint8_t *row = control->failed_row ? context->data + control->failed_row : 0;
		if (op->subject) {
			add_text(&line, context, row, op->subject);
			add(&line, ": ");
		}
		if (op->message) {
			add_text(&line, context, row, op->message);
		} else {
			add(&line, "op ");
			add_number(&line, control->failed_op);
		}
		int64_t error = -control->failed_result;
		uint32_t *errors = (uint32_t *)(context->data + program->ofs_errors);
		if (error > 0 && error < program->num_errors && errors[error]) {
			add(&line, ": ");
			add(&line, text_at(context, errors[error]));
		} else if (control->failed_result && op->kind == RESTORE_OP_KIND_SYSCALL) {
			add(&line, ": unexpected result ");
			add_number(&line, (uint64_t)control->failed_result);
		}
		if (op->hint) {
			add(&line, "\n  ");
			add_text(&line, context, row, op->hint);
		}
	}
	say(&line);
	for (;;) sys(SYS_exit_group, EXIT_RESTORE_FAILED, 0, 0);
}

/*
 * Children end first. In a pid namespace its init says what failed: it is a child of the process that the caller
 * started, and the kernel would kill it with that one before it has said so.
 */
static __attribute__((noreturn)) void end_quietly(void)
{
	while (sys(SYS_wait4, (uint64_t)-1, 0, WALL) > 0) {}
	for (;;) sys(SYS_exit_group, EXIT_RESTORE_FAILED, 0, 0);
}

/* Everything ends; only the supervisor says why. */
static __attribute__((noreturn)) void end(struct context *context)
{
	__atomic_store_n(&context->control->aborted, 1, __ATOMIC_SEQ_CST);
	wake_everybody(context);
	/* In a pid namespace of the tree's own, the supervisor's number is somebody else's. */
	if (pid_view(context) != RESTORE_PID_VIEW_OWN && sys(SYS_gettid, 0, 0, 0) == context->control->supervisor) report(context);
	end_quietly();
}

/* The first failure is remembered for the report. */
static int claim(struct restore_control_header *control)
{
	return !__atomic_exchange_n(&control->claimed, 1, __ATOMIC_SEQ_CST);
}

static __attribute__((noreturn)) void fail(struct context *context, const struct own *own, uint32_t index, int64_t result)
{
	struct restore_control_header *control = context->control;
	if (claim(control)) {
		control->failed_op = index;
		control->failed_row = own->row ? (uint32_t)(own->row - context->data) : 0;
		control->failed_result = result;
	}
	end(context);
}
