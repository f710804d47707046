/* SPDX-License-Identifier: Apache-2.0 */
/* Asynchronous I/O, and packet sockets. */
#include "probe.h"
#include <arpa/inet.h>
#include <linux/aio_abi.h>
#include <linux/if_packet.h>
#include <sys/socket.h>

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

/* A ring, a membership, a group of sockets that share packets; bound to the loopback device. */
static int packets;
static char *ring;
static int make_packet(void)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(0x88b5), .sll_ifindex = 1 };
	struct tpacket_req frames = { .tp_block_size = 4096, .tp_block_nr = 4, .tp_frame_size = 2048, .tp_frame_nr = 8 };
	struct packet_mreq everything = { .mr_ifindex = 1, .mr_type = PACKET_MR_PROMISC };
	int version = TPACKET_V2, fanout = 77 | PACKET_FANOUT_CPU << 16, yes = 1;

	packets = socket(AF_PACKET, SOCK_DGRAM, 0);
	if (packets < 0 || setsockopt(packets, SOL_PACKET, PACKET_VERSION, &version, sizeof version) ||
	    setsockopt(packets, SOL_PACKET, PACKET_AUXDATA, &yes, sizeof yes) ||
	    setsockopt(packets, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &everything, sizeof everything) ||
	    setsockopt(packets, SOL_PACKET, PACKET_RX_RING, &frames, sizeof frames) || bind(packets, (void *)&address, sizeof address) ||
	    setsockopt(packets, SOL_PACKET, PACKET_FANOUT, &fanout, sizeof fanout))
		return errno;
	ring = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, packets, 0);
	return ring == MAP_FAILED ? errno : 0;
}
static void tell_packet(FILE *out)
{
	static const int options[] = { PACKET_VERSION, PACKET_AUXDATA, PACKET_FANOUT, PACKET_HDRLEN };
	struct sockaddr_ll address;
	socklen_t length = sizeof address;

	getsockname(packets, (void *)&address, &length);
	fprintf(out, "%x %d", ntohs(address.sll_protocol), address.sll_ifindex);
	for (unsigned index = 0; index < sizeof options / sizeof *options; index++) {
		int value = TPACKET_V2;

		length = sizeof value;
		getsockopt(packets, SOL_PACKET, options[index], &value, &length);
		fprintf(out, " %x", value);
	}
	tell_smaps(out, ring, "VmFlags");
}

PROBES({ "aio", make_aio, tell_aio }, { "packet", make_packet, tell_packet })
