/* What the machine allows: the benchmark's application (echo with acknowledgement, broadcast to everybody) as bare C.
 *
 * One thread, one epoll; per turn one recv for each connection that is ready, then one send for each connection that has
 * something to say. No TLS, no polling, no checks worth the name: it is an upper bound to compare servers with, not a server.
 *
 *     gcc -O2 -o limit limit.c && ./limit PORT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECEIVE 65536
#define MAX_CONNECTIONS 65536

typedef struct {
    int fd, upgraded, joined, dirty;
    unsigned char *in, *out;
    int in_size, in_room, out_size, out_room;
} Connection;

static Connection *connections[MAX_CONNECTIONS], *dirty[MAX_CONNECTIONS];
static int highest, dirty_count;

/* The handshake: SHA-1 and base64 (RFC 6455, section 4.2.2). */

#define ROTATE(x, n) (((x) << (n)) | ((x) >> (32 - (n))))

static void sha1(const char *text, size_t size, unsigned char digest[20]) {
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    unsigned char block[256] = {0};
    size_t padded = ((size + 8) / 64 + 1) * 64;
    memcpy(block, text, size);
    block[size] = 0x80;
    for (int i = 0; i < 8; i++) block[padded - 1 - i] = (unsigned char)((uint64_t)size * 8 >> (8 * i));
    for (size_t start = 0; start < padded; start += 64) {
        uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
        for (int i = 0; i < 16; i++)
            w[i] = (uint32_t)block[start + 4 * i] << 24 | block[start + 4 * i + 1] << 16 | block[start + 4 * i + 2] << 8 | block[start + 4 * i + 3];
        for (int i = 16; i < 80; i++) w[i] = ROTATE(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        for (int i = 0; i < 80; i++) {
            uint32_t f = i < 20 ? (b & c) | (~b & d) : i < 40 ? b ^ c ^ d : i < 60 ? (b & c) | (b & d) | (c & d) : b ^ c ^ d;
            uint32_t k = i < 20 ? 0x5A827999 : i < 40 ? 0x6ED9EBA1 : i < 60 ? 0x8F1BBCDC : 0xCA62C1D6;
            uint32_t t = ROTATE(a, 5) + f + e + k + w[i];
            e = d, d = c, c = ROTATE(b, 30), b = a, a = t;
        }
        h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
    }
    for (int i = 0; i < 20; i++) digest[i] = (unsigned char)(h[i / 4] >> (24 - 8 * (i % 4)));
}

static void base64(const unsigned char *data, int size, char *text) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0; i < size; i += 3) {
        uint32_t v = (uint32_t)data[i] << 16 | (i + 1 < size ? data[i + 1] << 8 : 0) | (i + 2 < size ? data[i + 2] : 0);
        *text++ = digits[v >> 18];
        *text++ = digits[v >> 12 & 63];
        *text++ = i + 1 < size ? digits[v >> 6 & 63] : '=';
        *text++ = i + 2 < size ? digits[v & 63] : '=';
    }
    *text = 0;
}

/* Sending: frames are appended, and leave once per turn. */

static void say(Connection *c, const char *text, int size) {
    int head = size < 126 ? 2 : 4;
    if (c->out_size + head + size > c->out_room) c->out = realloc(c->out, (size_t)(c->out_room = (c->out_size + head + size) * 2));
    unsigned char *frame = c->out + c->out_size;
    frame[0] = 0x81;
    if (size < 126) {
        frame[1] = (unsigned char)size;
    } else {
        frame[1] = 126, frame[2] = (unsigned char)(size >> 8), frame[3] = (unsigned char)size;
    }
    memcpy(frame + head, text, (size_t)size);
    c->out_size += head + size;
    if (!c->dirty) c->dirty = 1, dirty[dirty_count++] = c;
}

static void flush_all(void) {
    for (int i = 0; i < dirty_count; i++) {
        Connection *c = dirty[i];
        if (!c) continue;
        ssize_t sent = send(c->fd, c->out, (size_t)c->out_size, MSG_NOSIGNAL);
        c->dirty = 0;
        if (sent > 0 && sent < c->out_size) memmove(c->out, c->out + sent, (size_t)(c->out_size - sent));
        c->out_size = sent > 0 ? c->out_size - (int)sent : 0;
    }
    dirty_count = 0;
}

/* Receiving. */

static void message(Connection *c, const char *text, int size) {
    static char answer[65536];
    if (size < 2 || size > 60000 || text[0] != '4') return;
    if (text[1] == '0') {
        c->joined = 1;
        say(c, answer, sprintf(answer, "40{\"sid\":\"%d\"}", c->fd));
        return;
    }
    const char *json = memchr(text, '[', (size_t)size);
    if (text[1] != '2' || !json) return;
    int left = (int)(text + size - json);
    if (left > 8 && !memcmp(json, "[\"echo\",", 8)) {
        int n = sprintf(answer, "43%.*s[", (int)(json - text - 2), text + 2);
        memcpy(answer + n, json + 8, (size_t)(left - 8));
        say(c, answer, n + left - 8);
    } else if (left > 13 && !memcmp(json, "[\"broadcast\",", 13)) {
        int n = sprintf(answer, "42[\"msg\",");
        memcpy(answer + n, json + 13, (size_t)(left - 13));
        for (int i = 0; i <= highest; i++)
            if (connections[i] && connections[i]->joined) say(connections[i], answer, n + left - 13);
    }
}

static void upgrade(Connection *c) {
    char text[128], key[64], response[512];
    unsigned char digest[20];
    c->in[c->in_size] = 0;
    char *field = strcasestr((char *)c->in, "sec-websocket-key:");
    if (!field || !strstr((char *)c->in, "\r\n\r\n")) return;
    field += 18 + strspn(field + 18, " ");
    int size = snprintf(text, sizeof text, "%.*s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", (int)strcspn(field, "\r"), field);
    sha1(text, (size_t)size, digest);
    base64(digest, 20, key);
    size = sprintf(response, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", key);
    if (send(c->fd, response, (size_t)size, MSG_NOSIGNAL) != size) return;
    c->upgraded = 1, c->in_size = 0;
    const char *open = "0{\"sid\":\"x\",\"upgrades\":[],\"pingInterval\":25000,\"pingTimeout\":20000,\"maxPayload\":1000000}";
    say(c, open, (int)strlen(open));
}

static void frames(Connection *c) {
    int at = 0;
    while (c->in_size - at >= 6) {
        unsigned char *frame = c->in + at;
        int size = frame[1] & 127, head = 2;
        if (size == 126) {
            if (c->in_size - at < 8) break;
            size = frame[2] << 8 | frame[3], head = 4;
        }
        if (c->in_size - at < head + 4 + size) break;
        unsigned char *mask = frame + head, *payload = mask + 4;
        for (int i = 0; i < size; i++) payload[i] ^= mask[i & 3];
        if ((frame[0] & 15) == 1) message(c, (char *)payload, size);
        at += head + 4 + size;
    }
    memmove(c->in, c->in + at, (size_t)(c->in_size - at));
    c->in_size -= at;
}

static void forget(Connection *c) {
    for (int i = 0; c->dirty && i < dirty_count; i++)
        if (dirty[i] == c) dirty[i] = NULL;
    connections[c->fd] = NULL;
    close(c->fd);
    free(c->in), free(c->out), free(c);
}

static void readable(Connection *c) {
    if (c->in_room - c->in_size < RECEIVE + 1) c->in = realloc(c->in, (size_t)(c->in_room = c->in_size + RECEIVE + 1));
    ssize_t got = recv(c->fd, c->in + c->in_size, RECEIVE, 0);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN) forget(c);
        return;
    }
    c->in_size += (int)got;
    if (c->upgraded) frames(c);
    else upgrade(c);
    if (!c->in_size) free(c->in), c->in = NULL, c->in_room = 0;
}

int main(int count, char **arguments) {
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0), epoll = epoll_create1(0);
    if (count != 2) return fprintf(stderr, "usage: %s PORT\n", arguments[0]), 2;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) return perror("listen"), 1;
    struct epoll_event ready[256], wanted = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &wanted);
    for (;;) {
        int n = epoll_wait(epoll, ready, 256, -1);
        for (int i = 0; i < n; i++) {
            if (ready[i].data.fd != listener) {
                if (connections[ready[i].data.fd]) readable(connections[ready[i].data.fd]);
                continue;
            }
            int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
            if (fd < 0 || fd >= MAX_CONNECTIONS) continue;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            connections[fd] = calloc(1, sizeof **connections);
            connections[fd]->fd = fd;
            if (fd > highest) highest = fd;
            wanted.data.fd = fd;
            epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &wanted);
        }
        flush_all();
    }
}
