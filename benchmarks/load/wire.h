/* Connections of the load generator: sockets, TLS, WebSocket frames. */
#ifndef WIRE_H
#define WIRE_H

#define _GNU_SOURCE
#include <stdbool.h>
#include <stddef.h>

#define READ_SIZE 65536
#define MAX_HEADER 14 /* a masked frame with a 64-bit length */

enum opcode { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10, DEFLATED_TEXT = 0x41 };

struct wire {
    int fd;
    void *tls; /* NULL: none */
    unsigned char *buffer;
    size_t length, capacity;
};

void fail(const char *what);
void refuse(const char *what, const unsigned char *data, size_t length);
double now(void);
void *allocate(void *old, size_t size);

void use_tls(void);
/* The address is the `index`-th of loopback; a handshake of TLS is made at once. */
void open_wire(struct wire *wire, int index, int port);
void close_wire(struct wire *wire);
void send_all(struct wire *wire, const void *data, size_t length);
void receive(struct wire *wire);
void consume(struct wire *wire, size_t length);
void give_back(struct wire *wire);

size_t write_frame(unsigned char *out, enum opcode opcode, const void *data, size_t length);
void send_frame(struct wire *wire, enum opcode opcode, const void *data, size_t length);
/* Length of the frame's header, with the payload's length in `*length`; 0: not all of it is here. */
size_t read_header(const unsigned char *data, size_t available, size_t *length);

#endif
