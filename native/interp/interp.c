// SPDX-License-Identifier: Apache-2.0
/*
 * The interpreter that an image carries: it executes the restore program (spec/ksy/restore_program.ksy), a table of
 * ops that was made when the image was linked, and decides nothing itself.
 *
 * Freestanding: no libc, no startup files, no data or bss segment, no relocations (position-independent code and
 * constants only), so that build/interp.bin can be loaded at any address. All writable memory comes from the program.
 * It is one translation unit: startup.h is stage 1, ops.h what ops do, pager.h the pager of a lazy resume, failing.h the end
 * of a restore that went wrong.
 *
 * The address space while it runs, all of it in the hole, a range that no task of the image uses:
 *
 *   hole_base      page 0 of the image (ELF and program headers), then this code     R-X
 *   addr_program   program header, ops, data, zeroed buffers, slots, stacks           RW-  private: forks get copies
 *   addr_control   control header, counters, process ids                             RW-  shared by the whole tree
 *   hole_end
 *
 * Stages:
 *   1. enter(): just after execve. Code is mapped from the image file, the stack is the kernel's. Everything may still
 *      be touched. Loads the program and looks whether it is whole (verify.h), then replaces its own code by an
 *      anonymous copy.
 *   2. run(): the ops. From here nothing outside the hole may be relied on, since the first op that wants to will
 *      unmap it: no pointer into the old stack, argv, envp or vDSO is kept (auxv and the values of options are copied before).
 *   3. leaving: by ptrace from the first process (no code here at all), or by the sigreturn op.
 *
 * All signals are blocked by the first op, so no system call here is interrupted, and EINTR needs no care.
 */
#include "startup.h"
#include "populate.h"
#include "pager.h"

static __attribute__((noreturn, used)) void run(struct context *context, uint64_t pc, const uint8_t *row, uint64_t stride)
{
	struct own own;
	own.row = row;
	own.stride = stride;
	own.left = 0;
	for (uint32_t tries = 0;;) {
		struct restore_op *op = op_at(context, (uint32_t)pc);
		uint64_t a[6];
		int64_t result = 0;
		if (pc >= context->program->num_ops) fail(context, &own, (uint32_t)pc - 1, -EINVAL);
		if (__atomic_load_n(&context->control->aborted, __ATOMIC_RELAXED)) end(context);
		for (int i = 0; i < 6; i++) a[i] = argument(context, &own, (uint32_t)pc, op, i);
		switch (op->kind) {
		case RESTORE_OP_KIND_SYSCALL: result = syscall6(op->nr, a[0], a[1], a[2], a[3], a[4], a[5]); break;
		case RESTORE_OP_KIND_STORE4: *(uint32_t *)a[0] = (uint32_t)a[1]; break;
		case RESTORE_OP_KIND_STORE8: *(uint64_t *)a[0] = a[1]; break;
		case RESTORE_OP_KIND_COPY: memcpy((void *)a[0], (void *)a[1], a[2]); break;
		case RESTORE_OP_KIND_COMPARE: result = memcmp((void *)a[0], (void *)a[1], a[2]) != 0; break;
		case RESTORE_OP_KIND_FIND: result = find((uint8_t *)a[0], a[1], (uint8_t *)a[2], a[3]); break;
		case RESTORE_OP_KIND_SYMBOL: result = symbol((const uint8_t *)a[0], (const char *)a[1]); break;
		case RESTORE_OP_KIND_COMPUTE: result = (int64_t)compute(op->nr, a[0], a[1]); break;
		case RESTORE_OP_KIND_JUMP:
			pc = jumps(op->nr, a[0], a[1]) ? op->target : pc + 1;
			continue;
		case RESTORE_OP_KIND_THREAD: result = start_thread(context, &own, a[0], a[1], op->target); break;
		case RESTORE_OP_KIND_COUNT:
			__atomic_add_fetch((uint32_t *)a[0], (uint32_t)a[1], __ATOMIC_SEQ_CST);
			futex_wake_all((uint32_t *)a[0]);
			break;
		case RESTORE_OP_KIND_WAIT: result = wait_for(context, (uint32_t)pc, (uint32_t *)a[0], (uint32_t)a[1], (uint32_t)a[2]); break;
		case RESTORE_OP_KIND_FORMAT: result = format(a); break;
		case RESTORE_OP_KIND_PRINT: print(context, &own, op); break;
		case RESTORE_OP_KIND_EACH:
			own.row = (const uint8_t *)a[0];
			own.left = a[1];
			own.stride = a[2];
			own.body = (uint32_t)pc + 1;
			break;
		case RESTORE_OP_KIND_NEXT:
			if (own.left > 1) {
				own.left--;
				own.row += own.stride;
				pc = own.body;
				continue;
			}
			own.row = 0;
			break;
		case RESTORE_OP_KIND_LEAVE: leave(a);
		case RESTORE_OP_KIND_SIGRETURN: leave_by_sigreturn(a[0]);
		case RESTORE_OP_KIND_FAIL: fail(context, &own, (uint32_t)pc, (int64_t)a[0]);
		case RESTORE_OP_KIND_REPORT: report(context);
		case RESTORE_OP_KIND_POPULATE:
			if (a[1]) populate(a[0], a[1], (int64_t *)a[2], a[3]);
			else context->filler = (int32_t)a[0] + 1;
			break;
		case RESTORE_OP_KIND_CPUID: result = cpuid((uint32_t)a[0], (uint32_t)a[1], a[2]); break;
		case RESTORE_OP_KIND_XGETBV: result = xgetbv(); break;
		case RESTORE_OP_KIND_FILL_TILES: fill_tiles(); break;
		case RESTORE_OP_KIND_FRAMES:
			context->frames = (const struct restore_frame *)a[0];
			context->num_frames = a[1];
			break;
		case RESTORE_OP_KIND_LOAD:
			result = load(context, (int32_t)a[0], (const struct restore_piece *)a[1], a[2], a[3], a[4], a[5], op->nr);
			break;
		case RESTORE_OP_KIND_PROTECT: result = protect((const struct restore_range *)a[0], a[1], a[2]); break;
		case RESTORE_OP_KIND_PAGE: result = page(context, a); break;
		case RESTORE_OP_KIND_KEEP: result = keep_pager((uint32_t)a[0]); break;
		default: fail(context, &own, (uint32_t)pc, -EINVAL);
		}
		if (result == -EEXIST && (op->flags & RESTORE_OP_FLAGS_PATIENT) && tries++ < MAX_TRIES) {
			pause_briefly();
			continue;
		}
		tries = 0;
		if (op->store != 0xffffffff) *slot_at(context, &own, op->store) = (uint64_t)result;
		if (is_right(op, result)) {
			pc++;
		} else if (op->flags & RESTORE_OP_FLAGS_ELSE_JUMP) {
			pc = op->target;
		} else {
			fail(context, &own, (uint32_t)pc, result);
		}
	}
}

/* The first instruction of the image: the kernel's stack pointer points to argc. */
__asm__(".section .text.start,\"ax\"\n"
	".globl start\n"
	"start:\n"
	"	xor %ebp, %ebp\n"
	"	mov %rsp, %rdi\n"
	"	and $-16, %rsp\n"
	"	call enter\n"
	".previous\n");
