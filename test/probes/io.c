/* SPDX-License-Identifier: Apache-2.0 */
/* Interfaces for asynchronous I/O. */
#include "probe.h"
#include <linux/aio_abi.h>

static aio_context_t context;
static char byte;

/* Reads of /dev/null, which are done at once. */
static int submit(int count)
{
	static int fd = -1;
	struct iocb request = { 0 }, *requests[] = { &request };

	if (fd < 0)
		fd = open("/dev/null", O_RDWR);
	request.aio_data = 99;
	request.aio_lio_opcode = IOCB_CMD_PREAD;
	request.aio_fildes = fd;
	request.aio_buf = (uintptr_t)&byte;
	request.aio_nbytes = 1;
	while (count--)
		if (syscall(SYS_io_submit, context, 1, requests) != 1)
			return errno;
	return 0;
}
static int make_aio(void)
{
	struct io_event events[120];

	if (syscall(SYS_io_setup, 64, &context))
		return errno;
	/* Twice round the ring, but for three events that nobody has taken yet. */
	for (int turn = 0; turn < 3; turn++) {
		int count = turn < 2 ? 100 : 60, error = submit(count);

		if (error)
			return error;
		syscall(SYS_io_getevents, context, count - (turn == 2 ? 3 : 0), count - (turn == 2 ? 3 : 0), events, NULL);
	}
	return 0;
}
static void tell_aio(FILE *out)
{
	volatile uint32_t *ring = (uint32_t *)context;
	uint32_t waiting = (ring[3] + ring[1] - ring[2]) % ring[1];
	struct io_event events[2];
	int error = submit(1);
	long taken = syscall(SYS_io_getevents, context, 1, 1, events, NULL);

	fprintf(out, "%lx %u %u %d %ld %llu %u", (unsigned long)context, ring[1], waiting, error, taken, (unsigned long long)events[0].data,
		(ring[3] + ring[1] - ring[2]) % ring[1]);
	tell_smaps(out, (void *)context, "VmFlags");
}

PROBES({ "aio", make_aio, tell_aio })
