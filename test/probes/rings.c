/* SPDX-License-Identifier: Apache-2.0 */
/* Rings of io_uring in unusual states. */
#include "probe.h"
#include <linux/io_uring.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

struct ring {
	struct io_uring_params params;
	int fd;
	char *rings, *sqes;
	unsigned tail;
	uint64_t sent, seen;
};

static unsigned *word(struct ring *ring, unsigned offset) { return (unsigned *)(ring->rings + offset); }
static int enroll(struct ring *ring, unsigned what, void *argument, unsigned count)
{
	return syscall(SYS_io_uring_register, ring->fd, what, argument, count) < 0 ? errno : 0;
}
static int setup(struct ring *ring, unsigned entries, unsigned flags)
{
	unsigned large = flags & IORING_SETUP_SQE128 ? 2 : 1;

	ring->params.flags |= flags;
	ring->fd = syscall(SYS_io_uring_setup, entries, &ring->params);
	if (ring->fd < 0)
		return errno;
	ring->rings = mmap(NULL, ring->params.sq_off.array + 4 * entries, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_SQ_RING);
	ring->sqes = mmap(NULL, 64 * large * entries, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_SQES);
	return ring->rings == MAP_FAILED || ring->sqes == MAP_FAILED ? errno : 0;
}
static struct io_uring_sqe *next(struct ring *ring)
{
	unsigned index = ring->tail++ & (ring->params.sq_entries - 1), large = ring->params.flags & IORING_SETUP_SQE128 ? 2 : 1;
	struct io_uring_sqe *sqe = (void *)(ring->sqes + 64 * large * index);

	memset(sqe, 0, 64 * large);
	sqe->user_data = ++ring->sent;
	word(ring, ring->params.sq_off.array)[index] = index;
	return sqe;
}
static int submit(struct ring *ring, unsigned count, unsigned wait)
{
	unsigned flags = wait || ring->params.flags & IORING_SETUP_DEFER_TASKRUN ? IORING_ENTER_GETEVENTS : 0;

	__atomic_store_n(word(ring, ring->params.sq_off.tail), ring->tail, __ATOMIC_RELEASE);
	return syscall(SYS_io_uring_enter, ring->fd, count, wait, flags, NULL, 0) == count ? 0 : errno ? errno : EAGAIN;
}
/* Requests that do nothing, of which some completions are left; -1 for a completion that is not the next one. */
static int turn(struct ring *ring, unsigned leave)
{
	unsigned *head = word(ring, ring->params.cq_off.head), large = ring->params.flags & IORING_SETUP_CQE32 ? 2 : 1;
	int error;

	next(ring);
	error = submit(ring, 1, 0);
	while (!error && *word(ring, ring->params.cq_off.tail) - *head > leave) {
		unsigned index = *head & (ring->params.cq_entries - 1);
		struct io_uring_cqe *cqe = (void *)(ring->rings + ring->params.cq_off.cqes + 16 * large * index);

		if (cqe->user_data != ++ring->seen)
			return -1;
		__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	}
	return error;
}
static int turns(struct ring *ring, int count, unsigned leave)
{
	int error = 0;

	while (!error && count--)
		error = turn(ring, leave);
	return error;
}
static void tell(FILE *out, struct ring *ring)
{
	int error = turns(ring, 5, 2);
	unsigned waiting = *word(ring, ring->params.cq_off.tail) - *word(ring, ring->params.cq_off.head);

	fprintf(out, "%p %p %d, %u wait", (void *)ring->rings, (void *)ring->sqes, error, waiting);
}
static void tell_number(FILE *out) { fprintf(out, "there"); }

static struct ring idle, buffers, single, large, other;
static int make_idle(void) { int error = setup(&idle, 8, 0); return error ? error : turns(&idle, 1001, 2); }
static void tell_idle(FILE *out) { tell(out, &idle); }

static char memory[3][4096] = { "one", "two", "three" };
static int make_buffers(void)
{
	struct iovec vectors[] = { { memory[0], 4096 }, { NULL, 0 }, { memory[2], 100 } };
	int error = setup(&buffers, 4, 0);

	return error ? error : (error = turns(&buffers, 10, 2)) ? error : enroll(&buffers, IORING_REGISTER_BUFFERS, vectors, 3);
}
/* Nothing is written: a length of zero, from a buffer that is there, one that is not, and behind the end of the third. */
static void tell_buffers(FILE *out)
{
	int fd = open("/dev/null", O_WRONLY);

	for (int index = 0; index < 3; index++) {
		struct io_uring_sqe *sqe;
		unsigned last;

		while (turns(&buffers, 0, 0), *word(&buffers, buffers.params.cq_off.tail) != *word(&buffers, buffers.params.cq_off.head)) {
			(*word(&buffers, buffers.params.cq_off.head))++;
			buffers.seen++;
		}
		sqe = next(&buffers);
		sqe->opcode = IORING_OP_WRITE_FIXED;
		sqe->fd = fd;
		sqe->addr = (uintptr_t)memory[index];
		sqe->len = index == 2 ? 101 : 100;
		sqe->buf_index = index;
		submit(&buffers, 1, 1);
		last = (*word(&buffers, buffers.params.cq_off.tail) - 1) & (buffers.params.cq_entries - 1);
		fprintf(out, "%d ", ((struct io_uring_cqe *)(buffers.rings + buffers.params.cq_off.cqes))[last].res);
	}
	close(fd);
}

static int make_single(void) { int error = setup(&single, 16, 0x3000); return error ? error : turns(&single, 77, 2); }
static void tell_single(FILE *out) { tell(out, &single); }
static int make_large(void)
{
	int error = setup(&large, 64, IORING_SETUP_SQE128 | IORING_SETUP_CQE32);

	return error ? error : turns(&large, 700, 2);
}
static void tell_large(FILE *out) { tell(out, &large); }

static int make_poll_of(unsigned flags)
{
	int error = setup(&other, 8, 0), fd = eventfd(0, 0);
	uint64_t one = 1;
	struct io_uring_sqe *sqe;

	if (error)
		return error;
	sqe = next(&other);
	sqe->opcode = IORING_OP_POLL_ADD;
	sqe->fd = fd;
	sqe->poll32_events = POLLIN;
	sqe->len = flags;
	error = submit(&other, 1, 0);
	if (flags) {
		for (int round = 0; round < 3; round++)
			if (write(fd, &one, 8) != 8 || (usleep(1000), read(fd, &one, 8)) != 8)
				return errno;
		sqe = next(&other);
		sqe->opcode = IORING_OP_POLL_REMOVE;
		sqe->addr = 1;
		error = submit(&other, 1, 1);
		usleep(1000);
	}
	return error;
}
static int make_poll(void) { return make_poll_of(0); }
static int make_multishot(void) { return make_poll_of(IORING_POLL_ADD_MULTI); }
static int make_files(void)
{
	int error = setup(&other, 8, 0), files[] = { 0, 1 };

	return error ? error : enroll(&other, IORING_REGISTER_FILES, files, 2);
}
static int make_event(void)
{
	int error = setup(&other, 8, 0), fd = eventfd(0, 0);

	return error ? error : enroll(&other, IORING_REGISTER_EVENTFD, &fd, 1);
}
static int make_itself(void)
{
	int error = setup(&other, 8, 0);
	struct io_uring_rsrc_update update = { .offset = -1U, .data = other.fd };

	return error ? error : syscall(SYS_io_uring_register, other.fd, IORING_REGISTER_RING_FDS, &update, 1) == 1 ? 0 : errno;
}
static int make_disabled(void) { return setup(&other, 8, IORING_SETUP_R_DISABLED); }
static int make_restricted(void)
{
	struct io_uring_restriction only = { .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_NOP };
	int error = make_disabled();

	if (!error)
		error = enroll(&other, IORING_REGISTER_RESTRICTIONS, &only, 1);
	return error ? error : enroll(&other, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}
static int make_looked_after(void) { return setup(&other, 8, IORING_SETUP_SQPOLL); }
static int make_own_memory(void)
{
	char *own = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	other.params.flags = 1 << 14; /* IORING_SETUP_NO_MMAP */
	other.params.cq_off.resv2 = (uintptr_t)own;
	other.params.sq_off.resv2 = (uintptr_t)own + 4096;
	other.fd = syscall(SYS_io_uring_setup, 8, &other.params);
	return other.fd < 0 ? errno : 0;
}

PROBES({ "idle", make_idle, tell_idle }, { "buffers", make_buffers, tell_buffers }, { "single", make_single, tell_single },
       { "large", make_large, tell_large }, { "poll", make_poll, tell_number }, { "multishot", make_multishot, tell_number },
       { "files", make_files, tell_number }, { "event", make_event, tell_number }, { "itself", make_itself, tell_number },
       { "restricted", make_restricted, tell_number },
       { "disabled", make_disabled, tell_number }, { "looked-after", make_looked_after, tell_number },
       { "own-memory", make_own_memory, tell_number })
