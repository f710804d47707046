// SPDX-License-Identifier: Apache-2.0
/*
 * Writes "tick N" lines to a file by io_uring, as liburing does: where it is in the submission queue it remembers by itself. One
 * completion always waits unread in the queue, and one request is prepared and not submitted yet.
 * rings LOG ENTRIES FLAGS [buffers | thread | busy | eventfd]
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define NO_SQARRAY (1u << 16)

static unsigned tail;
static int ring, out, has_buffers;
static struct io_uring_params params;
static struct io_uring_sqe *sqes;
static char *rings, *buffer;
static unsigned long prepared, seen;

static unsigned *at(unsigned offset) { return (unsigned *)(rings + offset); }

static void end(const char *why) {
    dprintf(out, "broken: %s\n", why);
    exit(1);
}

static void prepare(int opcode, long offset) {
    unsigned index = tail++ & (params.sq_entries - 1);
    struct io_uring_sqe *sqe = sqes + index;
    memset(sqe, 0, sizeof *sqe);
    sqe->opcode = opcode;
    sqe->user_data = ++prepared;
    // What comes next is done after it.
    if (opcode == IORING_OP_NOP) sqe->flags = IOSQE_IO_LINK;
    else {
        sqe->fd = out;
        sqe->addr = (unsigned long)buffer;
        sqe->len = strlen(buffer);
        sqe->off = offset;
    }
    if (opcode == IORING_OP_WRITE && has_buffers) sqe->opcode = IORING_OP_WRITE_FIXED;
    if (!(params.flags & NO_SQARRAY)) at(params.sq_off.array)[index] = index;
}

static void submit(void) {
    unsigned count = tail - __atomic_load_n(at(params.sq_off.head), __ATOMIC_ACQUIRE);
    unsigned wanted = count + *at(params.cq_off.tail) - *at(params.cq_off.head);
    __atomic_store_n(at(params.sq_off.tail), tail, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, count, wanted, IORING_ENTER_GETEVENTS, NULL, 0) != count) end("not all are taken");
}

static void reap(unsigned leave) {
    unsigned head = *at(params.cq_off.head), last = __atomic_load_n(at(params.cq_off.tail), __ATOMIC_ACQUIRE);
    struct io_uring_cqe *cqes = (void *)(rings + params.cq_off.cqes);
    if (last - head < leave) end("completions are missing");
    for (; head != last - leave; head++) {
        struct io_uring_cqe *cqe = cqes + (head & (params.cq_entries - 1));
        if (cqe->user_data != ++seen) end("another completion");
        if (cqe->res < 0) end(strerror(-cqe->res));
    }
    __atomic_store_n(at(params.cq_off.head), head, __ATOMIC_RELEASE);
}

static void *live(void *how) {
    ring = syscall(SYS_io_uring_setup, params.cq_entries, &params);
    if (ring < 0) exit(2);
    rings = mmap(0, params.sq_off.array + params.sq_entries * 4 + params.cq_off.cqes + params.cq_entries * 16, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
    sqes = mmap(0, params.sq_entries * sizeof *sqes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);
    buffer = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (rings == MAP_FAILED || sqes == MAP_FAILED) exit(3);
    has_buffers = !strcmp(how, "buffers");
    struct iovec vectors[3] = {{NULL, 0}, {buffer, 8192}, {NULL, 0}};
    if (has_buffers && syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, vectors, 3) < 0) exit(4);
    int event = eventfd(0, 0);
    if (!strcmp(how, "eventfd") && syscall(SYS_io_uring_register, ring, IORING_REGISTER_EVENTFD, &event, 1) < 0) exit(5);
    long offset = 0;
    for (unsigned long tick = 1;; tick++) {
        sprintf(buffer, "tick %lu\n", tick);
        prepare(IORING_OP_WRITE, offset);
        if (has_buffers) sqes[(tail - 1) & (params.sq_entries - 1)].buf_index = 1;
        offset += strlen(buffer);
        submit();
        reap(1);
        prepare(IORING_OP_NOP, 0);
        if (!strcmp(how, "busy") && tick == 1) {
            int ends[2];
            if (pipe(ends)) exit(6);
            struct io_uring_sqe *sqe = sqes + ((tail - 1) & (params.sq_entries - 1));
            sqe->opcode = IORING_OP_READ;
            sqe->flags = 0;
            sqe->fd = ends[0];
            sqe->addr = (unsigned long)(buffer + 4096);
            sqe->len = 1;
            __atomic_store_n(at(params.sq_off.tail), tail, __ATOMIC_RELEASE);
            syscall(SYS_io_uring_enter, ring, 1, 0, 0, NULL, 0);
            pause();
        }
        usleep(10000);
    }
    return NULL;
}

int main(int argc, char **argv) {
    if (argc < 4) return 1;
    out = open(argv[1], O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    params.cq_entries = atoi(argv[2]);
    params.flags = strtoul(argv[3], NULL, 0);
    char *how = argc > 4 ? argv[4] : "";
    if (strcmp(how, "thread")) live(how);
    pthread_t thread;
    pthread_create(&thread, NULL, live, how);
    pthread_join(thread, NULL);
    return 0;
}
