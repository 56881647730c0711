// SPDX-License-Identifier: Apache-2.0 OR MIT

// Sends the Ethernet frames that it reads from standard input, each behind its length (16 bits, big
// endian), on one NIC.
//
//   frame_peer NIC

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

int main(int argc, char **argv)
{
    static unsigned char frame[65536];
    unsigned char head[2];
    struct sockaddr_ll nic = { .sll_family = AF_PACKET };
    int socket_fd;

    if (argc != 2 || (nic.sll_ifindex = (int)if_nametoindex(argv[1])) == 0)
        fail("usage: frame_peer NIC");
    // Protocol 0: it receives nothing.
    if ((socket_fd = socket(AF_PACKET, SOCK_RAW, 0)) < 0)
        fail("socket");
    if (bind(socket_fd, (struct sockaddr *)&nic, sizeof nic) < 0)
        fail("bind");
    while (fread(head, sizeof head, 1, stdin) == 1) {
        size_t len = (size_t)(head[0] << 8 | head[1]);

        if (len > 0 && fread(frame, len, 1, stdin) != 1)
            fail("the frame ends early");
        if (send(socket_fd, frame, len, 0) < 0)
            fail("send");
    }
    return 0;
}
