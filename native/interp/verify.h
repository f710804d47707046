// SPDX-License-Identifier: Apache-2.0
/*
 * Looks at an image before anything of it is done: is it whole, and does every op stay within what the program has?
 * The checksum detects accidental damage. It cannot detect tampering, and need not: the program is code as any other executable is, and
 * whoever runs it trusts who made it.
 */
#pragma once
#include "failing.h"

/* Of a mode: where in the row the value is; bytes that a row may have. */
enum { ROW4 = 0x40, ROW8 = 0x80, MAX_ROW = 4096 };

struct program_segment {
	uint32_t type, flags;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

extern const char start[] __attribute__((visibility("hidden")));

static __attribute__((noreturn)) void damaged(const char *what)
{
	struct line line;
	line.length = 0;
	add(&line, "this image is damaged: ");
	add(&line, what);
	die(line.text, EXIT_NOT_AN_IMAGE);
}

static const struct program_segment *find_segment(uint64_t headers, uint64_t count, uint32_t type)
{
	const struct program_segment *segment = (const struct program_segment *)headers;
	for (; headers && count; count--, segment++)
		if (segment->type == type) return segment;
	return 0;
}

/* Whether [at, at + length) lies in [base, base + size). */
static int lies_in(uint64_t at, uint64_t length, uint64_t base, uint64_t size)
{
	return at >= base && length <= size && at - base <= size - length;
}

/* Before the program is read. */
static void verify_segments(const struct program_segment *segment, const struct program_segment *load)
{
	if (load->vaddr + PAGE != (uint64_t)start || load->memsz <= PAGE || load->memsz % PAGE)
		damaged("the interpreter is not where its program header says");
	if (segment->filesz < sizeof(struct restore_program_header) || segment->filesz % 8 || segment->filesz > segment->memsz ||
	    segment->vaddr != load->vaddr + load->memsz || segment->memsz % PAGE)
		damaged("the program header of its restore program is wrong");
}

static uint32_t sum_up(uint32_t sum, const uint32_t *words, uint64_t length)
{
	for (uint64_t i = 0; i < length / 4; i++) {
		sum = (sum ^ words[i]) * 0x9e3779b1;
		sum ^= sum >> 15;
	}
	return sum;
}

static int is_whole(struct restore_program_header *program, const struct program_segment *segment, const struct program_segment *load)
{
	uint32_t expected = program->checksum;
	program->checksum = 0;
	uint32_t sum = sum_up(0, (const uint32_t *)(load->vaddr + PAGE), load->memsz - PAGE);
	return sum_up(sum, (const uint32_t *)program, segment->filesz) == expected;
}

/* The parts of the program lie in it, and all of it in the hole. */
static int is_laid_out(const struct restore_program_header *program, const struct program_segment *segment,
	const struct program_segment *load)
{
	uint64_t memory = program->addr_program, size = program->len_memory;
	const uint8_t *data = (const uint8_t *)program + program->ofs_data;
	return program->hole_base == load->vaddr && memory == segment->vaddr && size == segment->memsz &&
		program->addr_control == memory + size && lies_in(program->addr_control, program->len_control, program->hole_base, program->hole_size) &&
		lies_in(program->ofs_ops, (uint64_t)program->num_ops * sizeof(struct restore_op), sizeof *program, segment->filesz - sizeof *program) &&
		program->ofs_ops % 8 == 0 && program->ofs_data % 8 == 0 && program->entry < program->num_ops &&
		program->len_data && lies_in(program->ofs_data, program->len_data, 0, segment->filesz) && data[program->len_data - 1] == 0 &&
		program->addr_slots % 8 == 0 && program->num_slots > RESTORE_OPTION_SLOT_REHEARSE &&
		lies_in(program->addr_slots, (uint64_t)program->num_slots * 8, memory, size) && program->addr_stack % 16 == 0 &&
		lies_in(program->addr_stack - STACK_ROOM, STACK_ROOM + STARTUP_ROOM, memory, size) &&
		program->len_control % PAGE == 0 && program->num_lasting_pids <= program->num_pids &&
		program->len_control >= sizeof(struct restore_control_header) + 4 * ((uint64_t)program->num_counters + program->num_pids) &&
		lies_in(program->ofs_errors, 4 * (uint64_t)program->num_errors, 0, program->len_data) &&
		lies_in(program->ofs_files, 8 * (uint64_t)program->num_files, 0, program->len_data) && program->ofs_usage < program->len_data;
}

static int are_errors_texts(const struct restore_program_header *program)
{
	const uint32_t *errors = (const uint32_t *)((const uint8_t *)program + program->ofs_data + program->ofs_errors);
	for (uint32_t i = 0; i < program->num_errors; i++)
		if (errors[i] >= program->len_data) return 0;
	return 1;
}

static int are_files(const struct restore_program_header *program)
{
	const uint32_t *files = (const uint32_t *)((const uint8_t *)program + program->ofs_data + program->ofs_files);
	for (uint32_t i = 0; i < program->num_files; i++)
		if (files[2 * i] >= program->len_data || files[2 * i + 1] >= program->num_slots) return 0;
	return 1;
}

static int is_slot(const struct restore_program_header *program, uint64_t index)
{
	return index < program->num_slots || (index >= FIRST_LOCAL && index < FIRST_LOCAL + (uint64_t)NUM_LOCALS);
}

/* A value of a row is looked at when it is used, an offset in a row too. */
static int is_argument(const struct restore_program_header *program, uint32_t mode, uint64_t value)
{
	if (mode & (ROW4 | ROW8)) return (mode & ~(ROW4 | ROW8)) <= RESTORE_ARG_MODE_MEM4S;
	switch (mode) {
	case RESTORE_ARG_MODE_DATA: return value <= program->len_memory - program->ofs_data;
	case RESTORE_ARG_MODE_SLOT: return is_slot(program, (uint32_t)value);
	case RESTORE_ARG_MODE_SLOT_ADDRESS: return is_slot(program, value);
	case RESTORE_ARG_MODE_MEM4:
	case RESTORE_ARG_MODE_MEM4S:
	case RESTORE_ARG_MODE_MEM8: return lies_in(value, 8, 0, program->len_memory - program->ofs_data);
	case RESTORE_ARG_MODE_CONTROL:
	case RESTORE_ARG_MODE_CONTROL4: return lies_in(value, 4, 0, program->len_control);
	case RESTORE_ARG_MODE_HOLE: return value <= program->hole_size;
	default: return mode <= RESTORE_ARG_MODE_MEM4S;
	}
}

static int is_text_of(const struct restore_program_header *program, uint32_t text)
{
	return text < program->len_data || (text & FIRST_LOCAL && (text & ~FIRST_LOCAL) <= MAX_ROW - 4);
}

/* Rows lie in the data. */
static int are_rows(const struct restore_program_header *program, const struct restore_op *op)
{
	uint64_t count = op->args[1], stride = op->args[2];
	return op->modes[0] == RESTORE_ARG_MODE_DATA && op->modes[1] == RESTORE_ARG_MODE_IMM && op->modes[2] == RESTORE_ARG_MODE_IMM &&
		count && count <= program->len_data && stride >= sizeof(struct restore_row) && stride <= MAX_ROW &&
		lies_in(op->args[0], count * stride, 0, program->len_data);
}

static int is_op(const struct restore_program_header *program, const struct restore_op *op)
{
	for (int i = 0; i < 6; i++)
		if (!is_argument(program, op->modes[i], op->args[i])) return 0;
	return op->kind >= RESTORE_OP_KIND_SYSCALL && op->kind <= RESTORE_OP_KIND_LEAVE && op->expect <= RESTORE_EXPECT_ONE_OF &&
		op->target < program->num_ops && (op->store == 0xffffffff || is_slot(program, op->store)) &&
		is_text_of(program, op->subject) && is_text_of(program, op->message) && is_text_of(program, op->hint) &&
		(op->kind != RESTORE_OP_KIND_EACH || are_rows(program, op));
}

/* Behind this, run() trusts what it reads. */
static void verify_program(struct restore_program_header *program, const struct program_segment *segment,
	const struct program_segment *load)
{
	if (memcmp(program->magic, "CKPTPRG1", 8)) damaged("its restore program does not begin as one");
	if (program->version_major != 1 || program->len_op != sizeof(struct restore_op))
		die("the restore program is of another version: relink the image with `crimg convert`", EXIT_NOT_AN_IMAGE);
	if (!is_whole(program, segment, load)) damaged("the checksum of its restore program is wrong");
	if (!is_laid_out(program, segment, load) || !are_errors_texts(program) || !are_files(program))
		damaged("the header of its restore program is wrong");
	const struct restore_op *ops = (const struct restore_op *)((const uint8_t *)program + program->ofs_ops);
	for (uint32_t i = 0; i < program->num_ops; i++) {
		if (is_op(program, ops + i)) continue;
		struct line line;
		line.length = 0;
		add(&line, "op ");
		add_number(&line, i);
		add(&line, " of its restore program refers to what is not there");
		damaged(line.text);
	}
}
