/* SPDX-License-Identifier: Apache-2.0 */
/* Options of sockets, one of each that a program can set and read. */
#include "probe.h"
#include <arpa/inet.h>
#include <linux/filter.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

static int tcp_socket, udp_socket, udp6_socket, listener, unix_pair[2];

static int of(int *slot, int family, int type)
{
	if (*slot == 0)
		*slot = socket(family, type, 0);
	return *slot;
}
static int tcp(void) { return of(&tcp_socket, AF_INET, SOCK_STREAM); }
static int udp(void) { return of(&udp_socket, AF_INET, SOCK_DGRAM); }
static int udp6(void) { return of(&udp6_socket, AF_INET6, SOCK_DGRAM); }
static int listening(void)
{
	int on = 1;

	if (listener == 0) {
		struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

		of(&listener, AF_INET, SOCK_STREAM);
		setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
		if (bind(listener, (void *)&any, sizeof any) || listen(listener, 5))
			return -1;
	}
	return listener;
}
static int pair_end(void)
{
	if (unix_pair[0] == 0 && socketpair(AF_UNIX, SOCK_DGRAM, 0, unix_pair))
		return -1;
	return unix_pair[0];
}

static int set_int(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof value) ? errno : 0;
}
static void tell_bytes(FILE *out, int fd, int level, int option)
{
	unsigned char value[64] = { 0 };
	socklen_t length = sizeof value;

	if (getsockopt(fd, level, option, value, &length))
		fprintf(out, "%s", strerror(errno));
	else
		for (socklen_t index = 0; index < length; index++)
			fprintf(out, "%02x", value[index]);
}

#define OPTION(id, fd, level, option, value) \
	static int make_##id(void) { return set_int(fd, level, option, value); } \
	static void tell_##id(FILE *out) { tell_bytes(out, fd, level, option); }

OPTION(keepalive, tcp(), SOL_SOCKET, SO_KEEPALIVE, 1)
static int tos_socket, plain_socket;
/* The type of service sets a priority, which may be set to another then, the first included. */
static int make_priority(void)
{
	return set_int(of(&tos_socket, AF_INET, SOCK_DGRAM), IPPROTO_IP, IP_TOS, 0x10) ||
	       set_int(of(&plain_socket, AF_INET, SOCK_DGRAM), IPPROTO_IP, IP_TOS, 0x10) ||
	       set_int(plain_socket, SOL_SOCKET, SO_PRIORITY, 0) ? errno : set_int(tos_socket, SOL_SOCKET, SO_PRIORITY, 5);
}
static void tell_priority(FILE *out)
{
	tell_bytes(out, tos_socket, SOL_SOCKET, SO_PRIORITY);
	tell_bytes(out, plain_socket, SOL_SOCKET, SO_PRIORITY);
}
OPTION(mark, udp(), SOL_SOCKET, SO_MARK, 77)
OPTION(incoming_cpu, listening(), SOL_SOCKET, SO_INCOMING_CPU, 1)
OPTION(rcvpriority, udp(), SOL_SOCKET, 82, 1)
OPTION(txrehash, tcp(), SOL_SOCKET, 74, 0)
OPTION(wifi_status, udp(), SOL_SOCKET, SO_WIFI_STATUS, 1)
OPTION(peek_off, pair_end(), SOL_SOCKET, SO_PEEK_OFF, 3)
OPTION(passpidfd, pair_end(), SOL_SOCKET, 76, 1)
OPTION(timestamp, udp(), SOL_SOCKET, SO_TIMESTAMP, 1)
OPTION(max_pacing, tcp(), SOL_SOCKET, SO_MAX_PACING_RATE, 123456)
OPTION(tos, udp(), IPPROTO_IP, IP_TOS, 0x10)
OPTION(recverr6, udp6(), IPPROTO_IPV6, IPV6_RECVERR, 1)
OPTION(unicast_if, udp(), IPPROTO_IP, 50, htonl(if_nametoindex("lo")))
OPTION(unicast_if6, udp6(), IPPROTO_IPV6, 76, htonl(if_nametoindex("lo")))
OPTION(udp_encap, udp(), IPPROTO_UDP, 100, 2)
OPTION(udp_gro, udp(), IPPROTO_UDP, 104, 1)
OPTION(nodelay, tcp(), IPPROTO_TCP, 1, 1)
OPTION(user_timeout, tcp(), IPPROTO_TCP, 18, 4321)
OPTION(rto_max, tcp(), IPPROTO_TCP, 44, 5000)
OPTION(rto_min, tcp(), IPPROTO_TCP, 45, 50000)
OPTION(delack_max, tcp(), IPPROTO_TCP, 46, 30000)
OPTION(rto_max_listener, listening(), IPPROTO_TCP, 44, 6000)

static int make_congestion(void) { return setsockopt(tcp(), IPPROTO_TCP, 13, "reno", 4) ? errno : 0; }
static void tell_congestion(FILE *out) { tell_bytes(out, tcp(), IPPROTO_TCP, 13); }

static int make_fastopen_key(void)
{
	return setsockopt(listening(), IPPROTO_TCP, 33, "0123456789abcdefABCDEFGHIJKLMNOP", 32) ? errno : 0;
}
static void tell_fastopen_key(FILE *out) { tell_bytes(out, listening(), IPPROTO_TCP, 33); }

static int make_txtime(void)
{
	int value[2] = { CLOCK_MONOTONIC, 2 };

	return setsockopt(udp(), SOL_SOCKET, SO_TXTIME, value, sizeof value) ? errno : 0;
}
static void tell_txtime(FILE *out) { tell_bytes(out, udp(), SOL_SOCKET, SO_TXTIME); }

static int filtered;
static int make_locked(void)
{
	struct sock_filter all = { BPF_RET | BPF_K, 0, 0, 0xffff };
	struct sock_fprog program = { 1, &all };

	filtered = socket(AF_INET, SOCK_DGRAM, 0);
	if (setsockopt(filtered, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program))
		return errno;
	return set_int(filtered, SOL_SOCKET, SO_LOCK_FILTER, 1);
}
static void tell_locked(FILE *out)
{
	int unused = 0, detached = setsockopt(filtered, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof unused);

	tell_bytes(out, filtered, SOL_SOCKET, SO_LOCK_FILTER);
	fprintf(out, " %s", detached ? strerror(errno) : "detached");
}

static int sized;
static int make_sizes(void)
{
	sized = socket(AF_INET, SOCK_DGRAM, 0);
	return set_int(sized, SOL_SOCKET, SO_RCVBUF, 50000);
}
static void tell_sizes(FILE *out)
{
	tell_bytes(out, sized, SOL_SOCKET, SO_RCVBUF);
	tell_bytes(out, sized, SOL_SOCKET, 72);
}

static int make_md5(void)
{
	struct { struct sockaddr_storage address; uint8_t flags, prefix; uint16_t length; int index; uint8_t key[80]; } md5 = { 0 };
	struct sockaddr_in *peer = (void *)&md5.address;

	peer->sin_family = AF_INET;
	peer->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	md5.length = 6;
	memcpy(md5.key, "secret", 6);
	return setsockopt(listening(), IPPROTO_TCP, 14, &md5, sizeof md5) ? errno : 0;
}
/* A connection without the key gets no answer. */
static void tell_md5(FILE *out)
{
	int client = socket(AF_INET, SOCK_STREAM, 0);
	struct timeval second = { 0, 300000 };
	struct sockaddr_in address;
	socklen_t length = sizeof address;

	getsockname(listening(), (void *)&address, &length);
	setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof second);
	fprintf(out, "%s", connect(client, (void *)&address, sizeof address) ? "no answer" : "connected");
	close(client);
}

#define P(id) { #id, make_##id, tell_##id }
PROBES(P(keepalive), P(priority), P(mark), P(incoming_cpu), P(rcvpriority), P(txrehash), P(wifi_status),
       P(peek_off), P(passpidfd), P(timestamp), P(max_pacing), P(tos), P(recverr6), P(unicast_if), P(unicast_if6),
       P(udp_encap), P(udp_gro), P(nodelay), P(user_timeout), P(rto_max), P(rto_min), P(delack_max), P(rto_max_listener),
       P(congestion), P(fastopen_key), P(txtime), P(locked), P(sizes), P(md5))
