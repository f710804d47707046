// SPDX-License-Identifier: Apache-2.0
/*
 * A lazy resume: the program runs before its memory is there. Each address space has registered what is missing with a
 * userfaultfd; the pager answers faults from the image, fills in the rest meanwhile, and is gone.
 *
 * A chunk of stored bytes (at most 64 pages) has a mask of the pages that are still missing. A bit is only ever cleared: when
 * the page is there, or when the program gave it up. What is missing and has no bit reads as zeros: memory that was never
 * stored, that the program dropped, or by which a mapping grew. Addresses of chunks stay those of the dump; where the program
 * has moved them to, segments say (mremap).
 *
 * The kernel makes an ioctl fail with EAGAIN while a change of the address space (fork, mremap, madvise, munmap) has not been
 * read as an event. So no page is ever put where the pager does not know what belongs there, and one thread is enough.
 */
#pragma once
#include "paging.h"

static uint64_t find_chunk(const struct space *space, uint64_t origin)
{
	uint64_t low = 0, high = space->count;
	while (low < high) {
		uint64_t middle = (low + high) / 2;
		if (space->chunks[middle].address + space->chunks[middle].length > origin) high = middle;
		else low = middle + 1;
	}
	return low;
}

/* The segment that has an address of the present (`by_origin`: of the dump). */
static const struct segment *find_segment_of(const struct space *space, uint64_t address, int by_origin)
{
	for (uint32_t i = 0; i < space->num_segments; i++) {
		const struct segment *segment = space->segments + i;
		uint64_t begin = by_origin ? segment->origin : segment->start;
		if (address >= begin && address - begin < segment->end - segment->start) return segment;
	}
	return 0;
}

/* Pages that read as zeros from now on, or that nobody can ask for any more: addresses of the dump. */
static void forget_origin(struct space *space, uint64_t begin, uint64_t end)
{
	for (uint64_t i = find_chunk(space, begin); i < space->count && space->chunks[i].address < end; i++) {
		const struct chunk *chunk = space->chunks + i;
		uint64_t from = begin > chunk->address ? begin - chunk->address : 0;
		uint64_t to = end < chunk->address + chunk->length ? end - chunk->address : chunk->length;
		for (uint64_t page = from / PAGE; page < to / PAGE; page++) space->masks[i] &= ~(1ul << page);
	}
}

/* The same, for addresses of the present. */
static void forget(struct space *space, uint64_t begin, uint64_t end)
{
	for (uint32_t i = 0; i < space->num_segments; i++) {
		const struct segment *segment = space->segments + i;
		uint64_t from = begin > segment->start ? begin : segment->start, to = end < segment->end ? end : segment->end;
		if (from < to) forget_origin(space, segment->origin + (from - segment->start), segment->origin + (to - segment->start));
	}
}

static void add_segment(struct space *space, uint64_t begin, uint64_t end, uint64_t origin)
{
	if (begin >= end) return;
	if (space->num_segments == space->room) {
		uint64_t size = space->room * sizeof(struct segment);
		struct segment *more = allocate(2 * size);
		memcpy(more, space->segments, size);
		release(space->segments, size);
		space->segments = more;
		space->room *= 2;
	}
	space->segments[space->num_segments++] = (struct segment){ begin, end, origin };
}

/* Takes [start, end) out of the segments. What was there comes back at `to`, if that is not 0. */
static void cut(struct space *space, uint64_t begin, uint64_t end, uint64_t to)
{
	uint32_t count = space->num_segments;
	for (uint32_t i = 0; i < count; i++) {
		struct segment old = space->segments[i];
		uint64_t from = begin > old.start ? begin : old.start, until = end < old.end ? end : old.end;
		if (from >= until) continue;
		space->segments[i].end = from;
		add_segment(space, until, old.end, old.origin + (until - old.start));
		if (to) add_segment(space, to + (from - begin), to + (until - begin), old.origin + (from - old.start));
	}
	uint32_t kept = 0;
	for (uint32_t i = 0; i < space->num_segments; i++)
		if (space->segments[i].start < space->segments[i].end) space->segments[kept++] = space->segments[i];
	space->num_segments = kept;
}

/* What belonged to `to` before has been told by an event of its own. Where the old place stays mapped (MREMAP_DONTUNMAP), it is empty. */
static void move(struct space *space, uint64_t from, uint64_t to, uint64_t length)
{
	uint64_t away = 1ul << 62; /* no address of a program: what moves may overlap where it goes */
	cut(space, to, to + length, 0);
	cut(space, from, from + length, away);
	cut(space, away, away + length, to);
}

static void close_space(struct pager *pager, uint32_t which)
{
	struct space *space = pager->spaces + which;
	sys(SYS_close, (uint64_t)space->fd, 0, 0);
	release(space->masks, space->count * sizeof *space->masks);
	release(space->segments, space->room * sizeof *space->segments);
	space->fd = -1;
	for (uint64_t i = pager->first; i < pager->last; i++)
		if (fault_at(pager, i)->space == which) fault_at(pager, i)->space = NO_SPACE;
}

static uint32_t new_space(struct pager *pager, int32_t fd, const struct chunk *chunks, uint64_t count, uint32_t room)
{
	uint32_t which = 0;
	while (which < pager->num_spaces && pager->spaces[which].fd >= 0) which++;
	if (which == MAX_SPACES) give_up(pager, -ENOMEM);
	if (which == pager->num_spaces) pager->num_spaces++;
	pager->spaces[which] = (struct space){ .fd = fd, .chunks = chunks, .count = count, .room = room,
		.masks = allocate(count * sizeof(uint64_t)), .segments = allocate(room * sizeof(struct segment)) };
	return which;
}

/* A child begins with what its parent has, and lacks what its parent lacks. */
static void fork_space(struct pager *pager, uint32_t parent, int32_t fd)
{
	uint32_t which = new_space(pager, fd, pager->spaces[parent].chunks, pager->spaces[parent].count, pager->spaces[parent].room);
	struct space *space = pager->spaces + which, *from = pager->spaces + parent;
	memcpy(space->masks, from->masks, from->count * sizeof *from->masks);
	memcpy(space->segments, from->segments, from->num_segments * sizeof *from->segments);
	space->num_segments = from->num_segments;
	space->next = from->next;
}

/* Reads what the kernel has to say of an address space; what it did waits until then. */
static void read_events(struct pager *pager, uint32_t which)
{
	for (;;) {
		struct space *space = pager->spaces + which;
		struct message messages[16];
		if (space->fd < 0) return;
		int64_t got = sys(SYS_read, (uint64_t)space->fd, (uint64_t)messages, sizeof messages);
		if (got == -EAGAIN || got == 0) return;
		if (got == -EINTR) continue;
		if (got < 0) give_up(pager, got);
		for (uint64_t i = 0; i < (uint64_t)got / sizeof *messages; i++) {
			const struct message *message = messages + i;
			space = pager->spaces + which;
			switch (message->event) {
			case UFFD_EVENT_PAGEFAULT: note_fault(pager, which, message->b & -(uint64_t)PAGE); break;
			case UFFD_EVENT_FORK: fork_space(pager, which, (int32_t)message->a); break;
			case UFFD_EVENT_REMAP: move(space, message->a, message->b, message->c); break;
			case UFFD_EVENT_REMOVE: forget(space, message->a, message->b); break;
			case UFFD_EVENT_UNMAP:
				forget(space, message->a, message->b);
				cut(space, message->a, message->b, 0);
				break;
			}
		}
	}
}

/* 1: done; 0: something has changed, look again; negative: as the kernel says. */
static int64_t judge(struct pager *pager, uint32_t which, int64_t result)
{
	if (result == -ESRCH) {
		close_space(pager, which);
		return 0;
	}
	if (result == -EAGAIN) {
		read_events(pager, which);
		sys(SYS_sched_yield, 0, 0, 0);
		return 0;
	}
	if (result == -ENOMEM) {
		if (++pager->tries > MOST_TRIES) give_up(pager, result);
		sleep_ms(10);
		return 0;
	}
	pager->tries = 0;
	return result < 0 ? result : 1;
}

/* A page that was never stored, or that the program dropped. */
static void give_zeros(struct pager *pager, uint32_t which, uint64_t address)
{
	uint64_t zero[4] = { address, PAGE, 0, 0 };
	int64_t result = judge(pager, which, ioctl(pager->spaces[which].fd, UFFDIO_ZEROPAGE, zero));
	if (result == 0 && pager->spaces[which].fd >= 0) note_fault(pager, which, address);
	/* It is there already, or no longer registered: whoever waits is to look again. */
	if (result < 0) ioctl(pager->spaces[which].fd, UFFDIO_WAKE, zero);
}

static void read_chunk(struct pager *pager, const struct chunk *chunk)
{
	if (pager->buffered == chunk) return;
	pager->buffered = 0;
	int64_t result = read_stored(&pager->inflating, chunk->file_offset, pager->buffer, chunk->length);
	if (result < 0) give_up(pager, result);
	struct restore_piece piece = { .address = (uint64_t)pager->buffer, .length = chunk->length, .sum = chunk->sum };
	if (pager->is_summed && !are_sums_right(&piece, 1, 0, &pager->crc)) give_up(pager, -EBADMSG);
	pager->buffered = chunk;
}

/* Puts all of a chunk that is missing in its place. */
static void fill_chunk(struct pager *pager, uint32_t which, uint64_t index)
{
	struct space *space = pager->spaces + which;
	const struct chunk *chunk = space->chunks + index;
	uint64_t most = MAX_PAGES;
	if (!space->masks[index]) return;
	read_chunk(pager, chunk);
	while (space->fd >= 0 && space->masks[index]) {
		uint64_t first = (uint64_t)__builtin_ctzl(space->masks[index]), count = 0;
		uint64_t origin = chunk->address + first * PAGE;
		const struct segment *segment = find_segment_of(space, origin, 1);
		if (!segment) {
			space->masks[index] &= space->masks[index] - 1;
			continue;
		}
		uint64_t address = segment->start + (origin - segment->origin);
		while (first + count < MAX_PAGES && space->masks[index] >> (first + count) & 1 && count < most && address + count * PAGE < segment->end)
			count++;
		uint64_t copy[5] = { address, (uint64_t)pager->buffer + first * PAGE, count * PAGE, 0, 0 };
		int64_t result = ioctl(space->fd, UFFDIO_COPY, copy);
		uint64_t done = (int64_t)copy[4] > 0 ? copy[4] / PAGE : 0;
		if (!done) {
			result = judge(pager, which, result);
			if (!result) continue;
			/* A mapping ends there, perhaps: each page by itself. */
			if (result < 0 && result != -EEXIST && count > 1) {
				most = 1;
				continue;
			}
			done = 1;
			if (result < 0) ioctl(space->fd, UFFDIO_WAKE, (uint64_t[2]){ address, PAGE });
		}
		for (uint64_t i = 0; i < done; i++) space->masks[index] &= ~(1ul << (first + i));
	}
}

static void answer(struct pager *pager, uint32_t which, uint64_t address)
{
	struct space *space = pager->spaces + which;
	const struct segment *segment = find_segment_of(space, address, 0);
	uint64_t origin = segment ? segment->origin + (address - segment->start) : 0;
	uint64_t index = segment ? find_chunk(space, origin) : space->count;
	if (index < space->count && origin >= space->chunks[index].address &&
	    space->masks[index] >> ((origin - space->chunks[index].address) / PAGE) & 1)
		fill_chunk(pager, which, index);
	else
		give_zeros(pager, which, address);
}

/* The next chunk of an address space that lacks one. 0 if it lacks nothing. */
static int fill_next(struct pager *pager, uint32_t which)
{
	struct space *space = pager->spaces + which;
	while (space->next < space->count && !space->masks[space->next]) space->next++;
	if (space->next == space->count) return 0;
	fill_chunk(pager, which, space->next);
	return 1;
}

/* The chunks of an address space as the program describes them. Those that forks of it make have the same. */
static void add_space(struct pager *pager, const struct restore_lazy_space *from, int32_t fd)
{
	const struct restore_lazy_run *runs = (const struct restore_lazy_run *)from->runs;
	const struct restore_range *there = (const struct restore_range *)from->ranges;
	struct chunk *chunks = allocate(from->num_pieces * sizeof *chunks), *chunk = chunks;
	for (uint32_t i = 0; i < from->num_runs; i++) {
		const struct restore_piece *pieces = (const struct restore_piece *)runs[i].pieces;
		uint64_t offset = runs[i].file_offset;
		for (uint64_t j = 0; j < runs[i].num_pieces && chunk < chunks + from->num_pieces; j++, chunk++) {
			*chunk = (struct chunk){ pieces[j].address, offset, pieces[j].length, pieces[j].sum };
			if (chunk->length > MAX_PAGES * PAGE || chunk->length % PAGE) give_up(pager, -EINVAL);
			offset += pieces[j].length;
		}
	}
	uint32_t which = new_space(pager, fd, chunks, (uint64_t)(chunk - chunks), 16);
	struct space *space = pager->spaces + which;
	add_segment(space, 0, 1ul << 47, 0);
	for (uint64_t i = 0; i < space->count; i++)
		space->masks[i] = chunks[i].length == MAX_PAGES * PAGE ? ~0ul : (1ul << chunks[i].length / PAGE) - 1;
	for (uint32_t i = 0; i < from->num_ranges; i++) forget_origin(space, there[i].start, there[i].end);
}

/* A task sends the number of its address space, its userfaultfd and a pidfd, which the keeper looks for. 0 at the end. */
static int receive(struct pager *pager, const struct restore_lazy_space *table, uint64_t count)
{
	uint64_t number = 0, vector[2] = { (uint64_t)&number, sizeof number };
	struct { uint64_t length; uint32_t level, type; int32_t fds[2]; } control;
	uint64_t header[7] = { 0, 0, (uint64_t)vector, 1, (uint64_t)&control, sizeof control, 0 };
	int64_t got = sys(SYS_recvmsg, (uint64_t)pager->socket, (uint64_t)header, MSG_CMSG_CLOEXEC);
	if (got == 0) return 0;
	if (got != sizeof number || header[5] < sizeof control || number >= count) give_up(pager, got < 0 ? got : -EINVAL);
	add_space(pager, table + number, control.fds[0]);
	return 1;
}

/* See the op page in restore_program.ksy. */
static int64_t page(struct context *context, uint64_t *a)
{
	struct pager *pager = allocate(sizeof *pager);
	pager->socket = (int32_t)a[1];
	pager->failure = (uint32_t *)a[5];
	if (begin_inflating(&pager->inflating, context, (int32_t)a[0])) give_up(pager, -ENOMEM);
	pager->buffer = allocate(MAX_PAGES * PAGE);
	pager->spaces = allocate(MAX_SPACES * sizeof *pager->spaces);
	pager->polls = allocate((MAX_SPACES + 2) * sizeof *pager->polls);
	pager->faults = allocate(MAX_FAULTS * sizeof *pager->faults);
	crc32c_look(&pager->crc);
	pager->is_summed = !a[4] && pager->crc.has_words;
	int32_t keeper = (int32_t)sys(SYS_pidfd_open, (uint64_t)sys(SYS_getppid, 0, 0, 0), 0, 0);
	syscall6(SYS_dup3, (uint64_t)keeper, KEEPER_FD, O_CLOEXEC, 0, 0, 0);
	sys(SYS_close, (uint64_t)keeper, 0, 0);
	int has_waited = 0;
	for (uint32_t turn = 0;;) {
		uint32_t living = 0;
		pager->polls[0] = (struct poll){ KEEPER_FD, POLLIN, 0 };
		pager->polls[1] = (struct poll){ pager->socket, POLLIN, 0 };
		for (uint32_t i = 0; i < pager->num_spaces; i++) {
			pager->polls[2 + i] = (struct poll){ pager->spaces[i].fd, POLLIN, 0 };
			if (pager->spaces[i].fd >= 0) living++;
		}
		/* While the tree is made, only faults are answered: the rest can wait. */
		int is_made = pager->socket < 0;
		if (is_made && !living) return 0;
		uint32_t known = pager->num_spaces;
		uint64_t most = has_waited || pager->first < pager->last ? 0 : is_made ? FIRST_TURN_MS : (uint64_t)-1;
		sys(SYS_poll, (uint64_t)pager->polls, 2 + known, most);
		has_waited = is_made;
		if (pager->polls[0].got) give_up(pager, -ECHILD);
		if (pager->polls[1].got && !is_made && !receive(pager, (const struct restore_lazy_space *)a[2], a[3])) {
			sys(SYS_close, (uint64_t)pager->socket, 0, 0);
			pager->socket = -1;
		}
		for (uint32_t i = 0; i < known; i++)
			if (pager->polls[2 + i].got) read_events(pager, i);
		int is_asked = pager->first < pager->last;
		for (uint64_t last = pager->last; pager->first < last;) {
			struct fault fault = *fault_at(pager, pager->first++);
			if (fault.space != NO_SPACE) answer(pager, fault.space, fault.address);
		}
		if (is_asked || !is_made) continue;
		if (turn >= pager->num_spaces) turn = 0;
		if (pager->spaces[turn].fd < 0) turn++;
		else if (!fill_next(pager, turn)) close_space(pager, turn++);
	}
}

/* See the op keep in restore_program.ksy. */
static int64_t keep_pager(uint32_t pid)
{
	int32_t info[32];
	info[2] = info[6] = 0;
	int64_t result = syscall6(SYS_waitid, P_PID, pid, (uint64_t)info, WEXITED | WALL, 0, 0);
	int is_done = !is_error(result) && info[2] == 1 && !info[6];
	if (!is_done) kill_program();
	return !is_done;
}
