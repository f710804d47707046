/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every descriptor of some frozen processes, looked at in one go: what /proc and a copy of it tell, which of them tell the very
 * same, and which are one open file description. Included by addon.c.
 *
 * The order of kcmp(2) needs n log n calls for n descriptions of one inode. Where these are many another thread makes them,
 * with the processes' own numbers, while this one reads /proc: no copy has to stay open for it. If a process was looked at
 * shortly before, while it still ran (orderDescriptors), n calls are enough: they show that the order is what it was. The other
 * thread then reads half of /proc, and begins as soon as the process stands still (beginLook), with the numbers that it had before.
 */
#ifndef CRIMG_DESCRIPTORS_H
#define CRIMG_DESCRIPTORS_H

#include <linux/fcntl.h>

/* struct stat and struct statfs of x86-64, as far as they are looked at. */
enum { STAT_LENGTH = 144, STAT_DEV = 0, STAT_INO = 8, STAT_SIZE = 48, STATFS_LENGTH = 120 };

/* A descriptor (src/native/looks.ts). From `stat` to `magic_result` is what two that tell the same have in common. */
struct look {
	int32_t process, fd;
	int64_t copied; /* -errno of pidfd_getfd, else 0 */
	uint8_t stat[STAT_LENGTH];
	int64_t stat_result, flags, signal, owner_result;
	int32_t owner[2];
	int64_t magic, magic_result;
	int32_t info_at, info_length; /* in the arena; a length below 0 is -errno */
	int32_t link_at, link_length;
	int32_t alike; /* the first row that tells the same */
	int32_t same;  /* the first row that is the same description */
};

enum { LOOK_TOLD = 16, LOOK_TOLD_LENGTH = 200 };
_Static_assert(sizeof(struct look) == 240, "rows of looks.ts");
_Static_assert(__builtin_offsetof(struct look, stat) == LOOK_TOLD, "what is told begins with the stat");
_Static_assert(__builtin_offsetof(struct look, info_at) == LOOK_TOLD + LOOK_TOLD_LENGTH, "and ends with the file system");

/* Which step ended it: word 0 of `failure`; word 1 is the process. */
enum { LOOK_PIDFD, LOOK_LIST, LOOK_KCMP };

/* Members of groups from which on another thread compares them. */
enum { MANY_TO_COMPARE = 96 };

struct looking {
	const int32_t *pids;
	int64_t process_count;
	struct look *rows;
	int64_t capacity, count; /* `capacity`: a power of two */
	uint8_t *arena;
	int64_t arena_length, arena_used;
	/* Two tables of twice the capacity, then a number for each row five times. */
	int32_t *alike_table, *group_table, *next, *members, *room;
	/* Of rows whose order was known when they were asked: the row that followed it in that order, from 1 on, and what kcmp said
	 * of the two, from 1 on; 0: nothing. */
	int32_t *after, *compared;
	int32_t *failure;
	int is_elsewhere; /* on another thread, whose calls are not counted */
	int is_guess;     /* the process runs: what cannot be compared has any order */
	/* The order that descriptors of one process had shortly before, from 1 on, by number; 0: not known. */
	const int32_t *ranks;
	int64_t rank_count;
	int32_t ranked_pid;
};

enum { SCRATCH_FACTOR = 9 };

static call_maker *maker_of(const struct looking *l)
{
	return l->is_elsewhere ? call : counted_call;
}

static uint64_t mix(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
	return hash ^ (hash >> 29);
}

/* `length` bytes; what is behind them in the last word counts as zero. */
static uint64_t mix_bytes(uint64_t hash, const uint8_t *bytes, int64_t length)
{
	uint64_t word;

	for (; length >= 8; bytes += 8, length -= 8) {
		__builtin_memcpy(&word, bytes, 8);
		hash = mix(hash, word);
	}
	for (word = 0; length > 0; length--)
		word = word << 8 | bytes[length - 1];
	return mix(hash, word);
}

static int equal_bytes(const uint8_t *left, const uint8_t *right, int64_t length)
{
	for (; length >= 8; left += 8, right += 8, length -= 8) {
		uint64_t a, b;

		__builtin_memcpy(&a, left, 8);
		__builtin_memcpy(&b, right, 8);
		if (a != b)
			return 0;
	}
	for (; length > 0; length--)
		if (left[length - 1] != right[length - 1])
			return 0;
	return 1;
}

/* Adds a row for each number in /proc/PID/fd, ascending. `directory` is that. */
static int64_t list_numbers(struct looking *l, int32_t process, int64_t directory)
{
	uint8_t entries[16384] __attribute__((aligned(8)));
	int64_t first = l->count;

	for (;;) {
		int64_t length = maker_of(l)(__NR_getdents64, directory, address_of(entries), sizeof(entries), 0);

		if (length <= 0)
			return length;
		for (int64_t at = 0; at < length; at += *(uint16_t *)(void *)(entries + at + 16)) {
			int32_t number = 0;
			int64_t place = l->count;

			if (entries[at + 19] == '.')
				continue;
			for (const uint8_t *digit = entries + at + 19; *digit; digit++)
				number = number * 10 + (*digit - '0');
			if (l->count == l->capacity)
				return -E2BIG;
			for (; place > first && l->rows[place - 1].fd > number; place--)
				l->rows[place].fd = l->rows[place - 1].fd;
			l->rows[place].fd = number;
			l->rows[l->count++].process = process;
		}
	}
}

/* Whether the file system of an inode was asked for already. */
static int is_of_inode(const struct look *row, const struct look *other)
{
	return other && !row->stat_result && !other->copied && !other->stat_result && !other->magic_result &&
	       equal_bytes(row->stat, other->stat, STAT_INO + 8);
}

/* What a copy tells, which is closed again. `other`: null, or a row that has been asked. */
static void ask_copy(struct look *row, const struct look *other, int64_t pidfd, call_maker *make)
{
	int64_t statfs[STATFS_LENGTH / 8];
	int64_t copy = make(__NR_pidfd_getfd, pidfd, row->fd, 0, 0);

	clear_bytes(&row->copied, sizeof(*row) - __builtin_offsetof(struct look, copied));
	row->alike = row->same = -1;
	if (copy < 0) {
		row->copied = copy;
		return;
	}
	row->stat_result = make(__NR_fstat, copy, address_of(row->stat), 0, 0);
	if (is_of_inode(row, other)) {
		row->magic = other->magic;
	} else {
		row->magic_result = make(__NR_fstatfs, copy, address_of(statfs), 0, 0);
		if (row->magic_result == 0)
			row->magic = statfs[0];
	}
	row->flags = make(__NR_fcntl, copy, F_GETFL, 0, 0);
	row->signal = make(__NR_fcntl, copy, F_GETSIG, 0, 0);
	row->owner_result = make(__NR_fcntl, copy, F_GETOWN_EX, address_of(row->owner), 0);
	call(__NR_close, copy, 0, 0, 0);
}

/* Reads a file of one record, which comes whole where there is room for it. */
static int64_t read_record(int64_t directory, const char *name, uint8_t *into, int64_t room, call_maker *make)
{
	int64_t fd = make(__NR_openat, directory, address_of(name), O_CLOEXEC_FLAG, 0), got;

	if (fd < 0)
		return fd;
	do
		got = room <= 0 ? -E2BIG : make(__NR_read, fd, address_of(into), room, 0);
	while (got == -EINTR);
	call(__NR_close, fd, 0, 0, 0);
	return got == room ? -E2BIG : got;
}

/* The number of a descriptor as a name. */
static void put_number(int32_t number, char name[PATH_ROOM])
{
	const struct gathering path = { .names = (const uint8_t *)"\1", .names_length = 2 };
	const int32_t ids[2] = { number, 0 };

	make_path(&path, 0, ids, name);
}

/* Opens /proc/PID/fd or fdinfo. */
static int64_t open_numbers(int32_t pid, int is_info, int64_t flags, call_maker *make)
{
	const struct gathering path = { .names = (const uint8_t *)"/proc/\1/fd\0/proc/\1/fdinfo", .names_length = 26 };
	const int32_t ids[2] = { pid, 0 };
	char name[PATH_ROOM];

	make_path(&path, is_info ? 11 : 0, ids, name);
	return make(__NR_openat, -100, address_of(name), O_CLOEXEC_FLAG | O_DIRECTORY | flags, 0);
}

static void ask_link(struct looking *l, struct look *row, int64_t links, const char *name)
{
	int64_t room = l->arena_length - l->arena_used;

	row->link_at = (int32_t)l->arena_used;
	if (links < 0 || room <= 0) {
		row->link_length = (int32_t)(links < 0 ? links : -E2BIG);
		return;
	}
	row->link_length = (int32_t)maker_of(l)(__NR_readlinkat, links, address_of(name), address_of(l->arena + l->arena_used), room);
	if (row->link_length == room)
		row->link_length = -E2BIG;
	if (row->link_length > 0)
		l->arena_used += row->link_length;
}

/* What /proc tells of a row, by the directories of its process. */
static void ask_proc_of(struct looking *l, struct look *row, int64_t links, int64_t infos)
{
	char name[PATH_ROOM];

	put_number(row->fd, name);
	row->info_at = (int32_t)l->arena_used;
	row->info_length = (int32_t)(infos < 0 ? infos
					       : read_record(infos, name, l->arena + l->arena_used,
							     l->arena_length - l->arena_used, maker_of(l)));
	if (row->info_length > 0)
		l->arena_used += row->info_length;
	ask_link(l, row, links, name);
}

/* What /proc tells of the rows of one process. */
static void ask_proc(struct looking *l, int64_t from, int64_t to, int32_t pid)
{
	int64_t links = open_numbers(pid, 0, O_PATH, maker_of(l)), infos = open_numbers(pid, 1, O_PATH, maker_of(l));

	for (int64_t index = from; index < to; index++) ask_proc_of(l, l->rows + index, links, infos);
	if (links >= 0)
		call(__NR_close, links, 0, 0, 0);
	if (infos >= 0)
		call(__NR_close, infos, 0, 0, 0);
}

/* What /proc tells of some rows. */
static void look_at_proc(struct looking *l, int64_t from, int64_t end)
{
	for (int64_t to; from < end; from = to) {
		int32_t process = l->rows[from].process;

		for (to = from; to < end && l->rows[to].process == process; to++)
			;
		ask_proc(l, from, to, l->pids[process]);
	}
}

/* Finds the first row that tells the same. */
static void find_alike(struct looking *l, int32_t index)
{
	struct look *row = l->rows + index;
	uint64_t mask = (uint64_t)l->capacity * 2 - 1, slot;

	row->alike = index;
	if (row->copied || row->info_length < 0 || row->link_length < 0)
		return;
	slot = mix_bytes(0, (const uint8_t *)row + LOOK_TOLD, LOOK_TOLD_LENGTH);
	slot = mix_bytes(slot, l->arena + row->info_at, row->info_length);
	slot = mix_bytes(slot, l->arena + row->link_at, row->link_length);
	for (slot &= mask;; slot = (slot + 1) & mask) {
		const struct look *other;

		if (!l->alike_table[slot]) {
			l->alike_table[slot] = index + 1;
			return;
		}
		other = l->rows + l->alike_table[slot] - 1;
		if (other->info_length == row->info_length && other->link_length == row->link_length &&
		    equal_bytes((const uint8_t *)row + LOOK_TOLD, (const uint8_t *)other + LOOK_TOLD, LOOK_TOLD_LENGTH) &&
		    equal_bytes(l->arena + row->info_at, l->arena + other->info_at, row->info_length) &&
		    equal_bytes(l->arena + row->link_at, l->arena + other->link_at, row->link_length)) {
			row->alike = l->alike_table[slot] - 1;
			return;
		}
	}
}

/* Chains the rows that may be one description: of one inode, with the same flags. Returns how many are not alone. */
static int64_t make_groups(struct looking *l)
{
	uint64_t mask = (uint64_t)l->capacity * 2 - 1;
	int64_t together = 0;

	for (int32_t index = 0; index < l->count; index++) {
		const struct look *row = l->rows + index;
		uint64_t slot = mix(mix_bytes(0, row->stat, 16), (uint64_t)row->flags);

		l->rows[index].same = index;
		l->next[index] = 0;
		for (slot &= mask; l->group_table[slot]; slot = (slot + 1) & mask) {
			const struct look *other = l->rows + l->group_table[slot] - 1;

			if (other->flags == row->flags && equal_bytes(row->stat, other->stat, 16)) {
				l->next[index] = l->group_table[slot];
				together += l->next[l->group_table[slot] - 1] ? 1 : 2;
				break;
			}
		}
		l->group_table[slot] = index + 1;
	}
	return together;
}

static int64_t compare_rows(const struct looking *l, int32_t left, int32_t right)
{
	const struct look *a = l->rows + left, *b = l->rows + right;
	const int64_t words[7] = { __NR_kcmp, l->pids[a->process], l->pids[b->process], 0 /* KCMP_FILE */, a->fd, b->fd };
	int64_t order;

	if (l->compared[left] && l->after[left] == right + 1)
		return l->compared[left] - 1;
	order = l->is_elsewhere ? raw_syscall(words) : counted(words);
	if (l->is_guess && (order < 0 || order > 2))
		return 1;
	return order > 2 ? -EDOM : order;
}

static int32_t rank_of(const struct looking *l, int32_t index)
{
	const struct look *row = l->rows + index;

	if (row->fd >= l->rank_count || l->pids[row->process] != l->ranked_pid || !l->ranks[row->fd])
		return 0x7fffffff;
	return l->ranks[row->fd];
}

/* Sorts rows as they were sorted before. */
static void sort_by_rank(const struct looking *l, int32_t *rows, int64_t count, int32_t *room)
{
	int64_t half = count / 2, i = 0, j = half, length = 0;

	if (count < 2)
		return;
	sort_by_rank(l, rows, half, room);
	sort_by_rank(l, rows + half, count - half, room);
	while (i < half && j < count)
		room[length++] = rank_of(l, rows[j]) < rank_of(l, rows[i]) ? rows[j++] : rows[i++];
	while (i < half)
		room[length++] = rows[i++];
	while (j < count)
		room[length++] = rows[j++];
	copy_bytes(rows, room, length * 4);
}

/* Two rows are one description: the first of them stands for it. Returns that. */
static int32_t join_rows(struct looking *l, int32_t a, int32_t b)
{
	l->rows[a > b ? a : b].same = a < b ? a : b;
	return a < b ? a : b;
}

/* Sorts rows in the order of kcmp, each description once: its first row. Returns how many there are. */
static int64_t sort_group(struct looking *l, int32_t *rows, int64_t count, int32_t *room)
{
	int64_t half = count / 2, left, right, i = 0, j = 0, length = 0;

	if (count < 2)
		return count;
	left = sort_group(l, rows, half, room);
	if (left < 0)
		return left;
	right = sort_group(l, rows + half, count - half, room);
	if (right < 0)
		return right;
	/* One call where the order is what it was; a call in vain for each merge where nothing was known. */
	if (l->ranks) {
		int64_t order = compare_rows(l, rows[left - 1], rows[half]);

		if (order < 0)
			return order;
		if (order < 2) {
			if (order == 0) {
				rows[left - 1] = join_rows(l, rows[left - 1], rows[half]);
				j = 1;
			}
			copy_bytes(rows + left, rows + half + j, (right - j) * 4);
			return left + right - j;
		}
	}
	while (i < left && j < right) {
		int32_t a = rows[i], b = rows[half + j];
		int64_t order = compare_rows(l, a, b);

		if (order < 0)
			return order;
		room[length++] = order == 0 ? join_rows(l, a, b) : order == 1 ? a : b;
		i += order != 2;
		j += order != 1;
	}
	for (; i < left; i++)
		room[length++] = rows[i];
	for (; j < right; j++)
		room[length++] = rows[half + j];
	copy_bytes(rows, room, length * 4);
	return length;
}

/* Has `members` be the rows of one group. Returns how many there are. */
static int64_t take_group(struct looking *l, int64_t slot)
{
	int64_t count = 0;

	for (int32_t next = l->group_table[slot]; next; next = l->next[next - 1])
		l->members[count++] = next - 1;
	return count;
}

/* Finds the first row that is the same description, for all of them. */
static int64_t find_same(struct looking *l)
{
	for (int64_t slot = 0; slot < l->capacity * 2; slot++) {
		int64_t count = take_group(l, slot);

		if (l->ranks)
			sort_by_rank(l, l->members, count, l->room);
		count = sort_group(l, l->members, count, l->room);
		if (count < 0)
			return count;
	}
	/* What was found to be another's may have been that of a third. */
	for (int64_t index = 0; index < l->count; index++)
		l->rows[index].same = l->rows[l->rows[index].same].same;
	return 0;
}

/* Work that another thread does meanwhile: comparing. */
enum { MOST_KEPT = 6 };

struct comparing {
	struct async_job job;
	struct looking l;
	int64_t *shared;
};

static void comparing_run(void *job)
{
	struct comparing *comparing = job;

	background_end(comparing->shared, find_same(&comparing->l));
}

/* Has another thread work; `kept`: the arrays that it uses. Returns 0 if it cannot. */
static int work_elsewhere(napi_env env, const struct looking *l, const napi_value *kept, int kept_count, int64_t *shared,
			  void (*run)(void *job))
{
	int64_t fault = count_call(), place = fault ? -fault : async_map(sizeof(struct comparing));
	struct comparing *comparing = (struct comparing *)(uintptr_t)place;

	if (place < 0)
		return 0;
	comparing->l = *l;
	comparing->l.is_elsewhere = 1;
	comparing->shared = shared;
	return async_start(env, &comparing->job, run, "crimg compare", kept, kept_count);
}

static int64_t failed_at(struct looking *l, int32_t step, int64_t process, int64_t result)
{
	l->failure[0] = step;
	l->failure[1] = (int32_t)process;
	return result;
}

/* The numbers of one process. */
static int64_t list_process(struct looking *l, int32_t process)
{
	int64_t directory = open_numbers(l->pids[process], 0, 0, counted_call);
	int64_t result = directory < 0 ? directory : list_numbers(l, process, directory);

	if (directory >= 0)
		call(__NR_close, directory, 0, 0, 0);
	return result < 0 ? failed_at(l, LOOK_LIST, process, result) : 0;
}

/* What copies tell of all rows. */
static int64_t look_at_copies(struct looking *l)
{
	for (int64_t index = 0; index < l->count;) {
		int32_t process = l->rows[index].process;
		int64_t first = index;
		int64_t pidfd = counted_call(__NR_pidfd_open, l->pids[process], 0, 0, 0);

		if (pidfd < 0)
			return failed_at(l, LOOK_PIDFD, process, pidfd);
		for (; index < l->count && l->rows[index].process == process; index++)
			ask_copy(l->rows + index, index > first ? l->rows + index - 1 : 0, pidfd, counted_call);
		call(__NR_close, pidfd, 0, 0, 0);
	}
	return 0;
}

/* Rows from which on two threads ask all of them, and rows that each takes at a time. */
enum { MANY_TO_ASK = 128, ASKED_TOGETHER = 16 };

/* What two threads share that ask of rows. */
struct asked {
	int64_t next, done; /* rows */
	int64_t failed, failed_process; /* -errno of pidfd_open, and whose */
	int64_t count; /* rows that there are */
};

struct asking {
	struct async_job job;
	struct looking l; /* of the other thread */
	struct asked *asked;
};

/* Compares a row with that which followed it in the order from before. */
static void ask_order(struct looking *l, int32_t index)
{
	if (l->after[index]) {
		int64_t order = compare_rows(l, index, l->after[index] - 1);

		l->compared[index] = order < 0 || order > 2 ? 0 : (int32_t)order + 1;
	}
}

/* Asks everything of rows that nobody has taken yet. */
static void ask_rows(struct looking *l, struct asked *shared)
{
	int32_t process = -1;
	int64_t pidfd = -1, links = -1, infos = -1;
	const struct look *before = 0;

	for (;;) {
		int64_t from = __atomic_fetch_add(&shared->next, ASKED_TOGETHER, __ATOMIC_ACQ_REL), to = from + ASKED_TOGETHER;

		if (from >= l->count)
			break;
		if (to > l->count)
			to = l->count;
		for (int64_t index = from; index < to; index++) {
			struct look *row = l->rows + index;

			if (row->process != process) {
				const int64_t old[3] = { pidfd, links, infos };

				for (int i = 0; i < 3; i++)
					if (old[i] >= 0)
						call(__NR_close, old[i], 0, 0, 0);
				process = row->process;
				pidfd = call(__NR_pidfd_open, l->pids[process], 0, 0, 0);
				links = open_numbers(l->pids[process], 0, O_PATH, call);
				infos = open_numbers(l->pids[process], 1, O_PATH, call);
			}
			if (pidfd < 0) {
				__atomic_store_n(&shared->failed_process, process, __ATOMIC_RELAXED);
				__atomic_store_n(&shared->failed, pidfd, __ATOMIC_RELEASE);
				continue;
			}
			ask_copy(row, before, pidfd, call);
			before = row;
			ask_proc_of(l, row, links, infos);
			ask_order(l, (int32_t)index);
		}
		/* Whoever waits may not wait for all of them (ask_begun). */
		__atomic_add_fetch(&shared->done, to - from, __ATOMIC_ACQ_REL);
		if (__atomic_load_n(&shared->next, __ATOMIC_ACQUIRE) >= l->count)
			call(__NR_futex, address_of(&shared->done), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, 0);
	}
	if (pidfd >= 0)
		call(__NR_close, pidfd, 0, 0, 0);
	if (links >= 0)
		call(__NR_close, links, 0, 0, 0);
	if (infos >= 0)
		call(__NR_close, infos, 0, 0, 0);
}

static void asking_run(void *job)
{
	struct asking *asking = job;

	ask_rows(&asking->l, asking->asked);
}

/* Has another thread ask of rows; its texts go to the second half of the arena. Returns 0, or -errno if there is no room for it. */
static int64_t ask_elsewhere(napi_env env, const struct looking *l, const napi_value *kept, int kept_count, struct asked *shared)
{
	int64_t fault = count_call(), place = fault ? -fault : async_map(sizeof(struct asking));
	struct asking *asking = (struct asking *)(uintptr_t)place;

	if (place < 0)
		return place;
	asking->l = *l;
	asking->l.is_elsewhere = 1;
	asking->l.arena_used = l->arena_length / 2;
	asking->asked = shared;
	/* If it cannot, this one asks them all. */
	async_start(env, &asking->job, asking_run, "crimg ask", kept, kept_count);
	return 0;
}

static void await_asked(struct asked *shared, int64_t rows)
{
	int64_t done;

	while ((done = __atomic_load_n(&shared->done, __ATOMIC_ACQUIRE)) < rows)
		call(__NR_futex, address_of(&shared->done), FUTEX_WAIT | FUTEX_PRIVATE_FLAG, (int32_t)done, 0);
}

/* Asks what the other thread has not yet taken, and waits for it. Returns 0 or -errno. */
static int64_t ask_too(struct looking *l, struct asked *shared)
{
	struct looking mine = *l;

	mine.is_elsewhere = 1;
	mine.arena_length = l->arena_length / 2;
	ask_rows(&mine, shared);
	await_asked(shared, l->count);
	return shared->failed ? failed_at(l, LOOK_PIDFD, shared->failed_process, shared->failed) : 0;
}

/*
 * Asks everything of all rows, with another thread if there is one in time: who comes too late finds nothing left. Counted as one
 * call, so that tests meet the same one every time. Returns 0 or -errno.
 */
static int64_t ask_by_two(napi_env env, struct looking *l, const napi_value kept[MOST_KEPT], struct asked *shared)
{
	int64_t result;

	clear_bytes(shared, sizeof(*shared));
	shared->count = l->count;
	result = ask_elsewhere(env, l, kept, MOST_KEPT, shared);
	return result < 0 ? failed_at(l, LOOK_PIDFD, 0, result) : ask_too(l, shared);
}

/* Whether a process has the numbers that the rows have. */
static int has_numbers(const struct looking *l)
{
	uint8_t entries[16384] __attribute__((aligned(8)));
	int64_t directory = open_numbers(l->pids[0], 0, 0, counted_call), length = -1, row = 0;
	int is_so = 1;

	while (directory >= 0 && is_so && (length = call(__NR_getdents64, directory, address_of(entries), sizeof(entries), 0)) > 0) {
		for (int64_t at = 0; at < length; at += *(uint16_t *)(void *)(entries + at + 16)) {
			int32_t number = 0;

			if (entries[at + 19] == '.')
				continue;
			for (const uint8_t *digit = entries + at + 19; *digit; digit++)
				number = number * 10 + (*digit - '0');
			is_so &= row < l->count && l->rows[row].fd == number;
			row++;
		}
	}
	if (directory >= 0)
		call(__NR_close, directory, 0, 0, 0);
	return length == 0 && is_so && row == l->count;
}

/* How many descriptors a process has; 0 where the kernel does not tell (before 6.2). */
static int64_t count_numbers(int32_t pid)
{
	int64_t stat[STAT_LENGTH / 8];
	int64_t directory = open_numbers(pid, 0, O_PATH, counted_call);
	int64_t result = directory < 0 ? directory : call(__NR_fstat, directory, address_of(stat), 0, 0);

	if (directory >= 0)
		call(__NR_close, directory, 0, 0, 0);
	return result < 0 ? 0 : stat[STAT_SIZE / 8];
}

static int are_copied(const struct looking *l)
{
	for (int64_t index = 0; index < l->count; index++)
		if (l->rows[index].copied)
			return 0;
	return 1;
}

/* Asks what is left of the rows that were begun with; 0 if the process has others, and -errno. */
static int64_t ask_begun(struct looking *l, struct asked *shared)
{
	int64_t result;

	l->count = shared->count;
	/* As many, and all of these: the same. To list them takes a hundred times as long. */
	if (count_numbers(l->pids[0]) == l->count || has_numbers(l)) {
		result = ask_too(l, shared);
		if (result < 0)
			return result;
		if (are_copied(l) || has_numbers(l))
			return 1;
	} else {
		/* Nothing more is taken, and nobody is at work with what was. */
		result = __atomic_exchange_n(&shared->next, INT64_MAX / 2, __ATOMIC_ACQ_REL);
		await_asked(shared, result < l->count ? result : l->count);
	}
	l->count = 0;
	clear_bytes(l->after, (int64_t)sizeof(*l->after) * l->capacity);
	clear_bytes(l->compared, (int64_t)sizeof(*l->compared) * l->capacity);
	return 0;
}

/* Gives the tables of `l` their places. Returns 0 if there is no room. */
static int place_scratch(struct looking *l, void *rows, size_t rows_length, void *scratch, size_t scratch_length)
{
	l->rows = rows;
	l->capacity = (int64_t)(rows_length / sizeof(struct look));
	if (l->capacity == 0 || (l->capacity & (l->capacity - 1)) || scratch_length / 4 / SCRATCH_FACTOR < (size_t)l->capacity)
		return 0;
	l->alike_table = scratch;
	l->group_table = l->alike_table + l->capacity * 2;
	l->next = l->group_table + l->capacity * 2;
	l->members = l->next + l->capacity;
	l->room = l->members + l->capacity;
	l->after = l->room + l->capacity;
	l->compared = l->after + l->capacity;
	return 1;
}

/* Compares: on another thread if that takes long. */
static void compare_all(napi_env env, struct looking *l, const napi_value kept[MOST_KEPT], int64_t *shared)
{
	if (make_groups(l) >= MANY_TO_COMPARE && work_elsewhere(env, l, kept, MOST_KEPT, shared, comparing_run))
		return;
	shared[BACKGROUND_RESULT] = find_same(l);
	shared[BACKGROUND_DONE] = 1;
}

/* Has rows be what the process ranked had open when it was looked at before, in the order of kcmp. Returns how many, 0 if too many. */
static int64_t guess_rows(struct looking *l)
{
	int32_t *of_rank = l->members, *next = l->room, before = 0;

	for (int64_t number = 0; number < l->rank_count; number++) {
		if (!l->ranks[number])
			continue;
		if (l->count == l->capacity || l->ranks[number] < 0 || l->ranks[number] > l->capacity)
			return 0;
		l->rows[l->count].process = 0;
		l->rows[l->count++].fd = (int32_t)number;
	}
	for (int64_t index = l->count - 1; index >= 0; index--) {
		int32_t *first = of_rank + l->ranks[l->rows[index].fd] - 1;

		next[index] = *first;
		*first = (int32_t)index + 1;
	}
	for (int64_t rank = 0; rank < l->capacity; rank++) {
		for (int32_t row = of_rank[rank]; row; row = next[row - 1]) {
			if (before)
				l->after[before - 1] = row;
			before = row;
		}
	}
	return l->count;
}

/*
 * beginLook(pid: Int32Array(1), rows, scratch, arena, asked: BigInt64Array(10), zeroed, ranks): has another thread begin with what
 * lookAtDescriptors will do with the same of a frozen process, by the numbers that it had before, which ranks has.
 */
static napi_value js_begin_look(napi_env env, napi_callback_info info)
{
	size_t count = 6, lengths[6];
	napi_value values[6];
	void *addresses[6];
	struct looking l = { .process_count = 1 };
	struct asked *shared;

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 6 || !buffers(env, values, 6, addresses, lengths))
		return throw_type(env, "beginLook(pid, rows, scratch, arena, asked, ranks)");
	l.pids = addresses[0];
	l.arena = addresses[3];
	l.arena_length = (int64_t)lengths[3];
	shared = addresses[4];
	l.ranks = addresses[5];
	l.rank_count = (int64_t)(lengths[5] / 4);
	if (lengths[0] < 4 || !place_scratch(&l, addresses[1], lengths[1], addresses[2], lengths[2]) ||
	    lengths[4] < 2 * sizeof(struct asked) || l.arena_length > 0x7fffffff)
		return throw_type(env, "beginLook: no room");
	shared->count = guess_rows(&l);
	if (shared->count < MANY_TO_ASK || ask_elsewhere(env, &l, values, MOST_KEPT, shared) < 0)
		shared->count = 0;
	return NULL;
}

/* Asks everything of all rows. Returns 0 or -errno. */
static int64_t ask_all(napi_env env, struct looking *l, const napi_value kept[MOST_KEPT], struct asked *shared)
{
	int64_t result = 0;

	for (int32_t process = 0; process < l->process_count && result >= 0; process++)
		result = list_process(l, process);
	if (result < 0)
		return result;
	if (l->count >= MANY_TO_ASK)
		return ask_by_two(env, l, kept, shared);
	result = look_at_copies(l);
	if (result >= 0)
		look_at_proc(l, 0, l->count);
	return result;
}

/*
 * lookAtDescriptors(pids: Int32Array, rows of 240 bytes each: a power of two, scratch: Int32Array of 9 a row, zeroed, arena,
 * failure: Int32Array(2), state: BigInt64Array(2), ranks: Int32Array, which are of the process ranked, asked: BigInt64Array(10),
 * zeroed, or that which beginLook was given): the number of descriptors, or -errno, with what failed; -E2BIG if they are more than
 * rows. What is the same is known when awaitBackground(state) has returned 0.
 */
static napi_value js_look_at_descriptors(napi_env env, napi_callback_info info)
{
	size_t count = 9, lengths[8];
	napi_value values[9], value;
	void *addresses[8];
	struct looking l = { 0 };
	struct asked *asked;
	int64_t result, *shared;

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 9 || !buffers(env, values, 8, addresses, lengths) ||
	    napi_get_value_int32(env, values[8], &l.ranked_pid) != napi_ok)
		return throw_type(env, "lookAtDescriptors(pids, rows, scratch, arena, failure, state, ranks, asked, ranked)");
	l.pids = addresses[0];
	l.process_count = (int64_t)(lengths[0] / 4);
	l.arena = addresses[3];
	l.arena_length = (int64_t)lengths[3];
	l.failure = addresses[4];
	l.ranks = lengths[6] ? addresses[6] : NULL;
	l.rank_count = (int64_t)(lengths[6] / 4);
	if (!place_scratch(&l, addresses[1], lengths[1], addresses[2], lengths[2]) || lengths[4] < 8 || lengths[5] < BACKGROUND_WORDS * 8 ||
	    lengths[7] < 2 * sizeof(*asked) || l.arena_length > 0x7fffffff)
		return throw_type(env, "lookAtDescriptors: no room");
	shared = addresses[5];
	shared[BACKGROUND_DONE] = 0;
	asked = addresses[7];
	result = asked->count ? ask_begun(&l, asked) : 0;
	if (result > 0) {
		/* Most has been compared already. */
		make_groups(&l);
		shared[BACKGROUND_RESULT] = find_same(&l);
		shared[BACKGROUND_DONE] = 1;
	} else if (result == 0) {
		const napi_value kept[MOST_KEPT] = { values[0], values[1], values[2], values[3], values[5], values[6] };
		const napi_value asking[MOST_KEPT] = { values[0], values[1], values[2], values[3], values[6], values[7] };

		result = ask_all(env, &l, asking, asked + 1);
		if (result >= 0)
			compare_all(env, &l, kept, shared);
	}
	if (result >= 0) {
		for (int64_t index = 0; index < l.count; index++)
			find_alike(&l, (int32_t)index);
	}
	return napi_create_int64(env, result < 0 ? result : l.count, &value) == napi_ok ? value : NULL;
}

/* Sorts what a running process has open, as far as it can be sorted. */
static void ordering_run(void *job)
{
	struct comparing *comparing = job;
	struct looking *l = &comparing->l;
	int32_t *ranks = (int32_t *)(uintptr_t)l->ranks, rank = 0;
	int64_t directory = open_numbers(l->pids[0], 0, 0, call), result = directory;
	char name[PATH_ROOM];

	l->ranks = NULL;
	if (directory >= 0)
		result = list_numbers(l, 0, directory);
	for (int64_t index = 0; result >= 0 && index < l->count; index++) {
		struct look *row = l->rows + index;

		put_number(row->fd, name);
		row->flags = 0;
		if (call(__NR_newfstatat, directory, address_of(name), address_of(row->stat), 0) < 0)
			clear_bytes(row->stat, sizeof(row->stat));
	}
	if (directory >= 0)
		call(__NR_close, directory, 0, 0, 0);
	if (result < 0) {
		background_end(comparing->shared, result);
		return;
	}
	make_groups(l);
	for (int64_t slot = 0; slot < l->capacity * 2; slot++) {
		int64_t count = sort_group(l, l->members, take_group(l, slot), l->room);

		for (int64_t index = 0; index < count; index++)
			if (l->rows[l->members[index]].fd < l->rank_count)
				ranks[l->rows[l->members[index]].fd] = ++rank;
	}
	for (int64_t index = 0; index < l->count; index++) {
		const struct look *row = l->rows + index, *first = row;

		while (first->same != first - l->rows)
			first = l->rows + first->same;
		if (row->fd < l->rank_count && first->fd < l->rank_count)
			ranks[row->fd] = ranks[first->fd];
	}
	background_end(comparing->shared, 0);
}

/*
 * orderDescriptors(pid: Int32Array(1), rows, scratch, ranks: Int32Array, zeroed, state: BigInt64Array(2)): begins to find the
 * order of what a running process has open. Ranks are there when state[0] is not 0.
 */
static napi_value js_order_descriptors(napi_env env, napi_callback_info info)
{
	size_t count = 5, lengths[5];
	napi_value values[5];
	void *addresses[5];
	struct looking l = { .is_guess = 1 };
	int64_t *shared;

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 5 || !buffers(env, values, 5, addresses, lengths))
		return throw_type(env, "orderDescriptors(pid, rows, scratch, ranks, state)");
	l.pids = addresses[0];
	l.process_count = 1;
	l.ranks = addresses[3];
	l.rank_count = (int64_t)(lengths[3] / 4);
	if (lengths[0] < 4 || !place_scratch(&l, addresses[1], lengths[1], addresses[2], lengths[2]) || lengths[4] < BACKGROUND_WORDS * 8)
		return throw_type(env, "orderDescriptors: no room");
	shared = addresses[4];
	shared[BACKGROUND_DONE] = 0;
	if (!work_elsewhere(env, &l, values, 5, shared, ordering_run)) {
		shared[BACKGROUND_RESULT] = -ENOMEM;
		shared[BACKGROUND_DONE] = 1;
	}
	return NULL;
}

#endif
