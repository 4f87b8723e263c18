/*
 * tcp.c - what the kernel knows of a connection and we cannot: while we were
 * stopped, or busy with others, it took bytes in and noted when. Time for which
 * the host was suspended is not in it.
 */
#include "http/tcp_priv.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

bool http_tcp(int fd, struct http_tcp *out)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
        return false;
    out->received = info.tcpi_bytes_received;
    out->silence_ms = info.tcpi_last_data_recv;
    return true;
}
