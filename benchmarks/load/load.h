/* What the modes of the load generator share. */
#ifndef LOAD_H
#define LOAD_H

#include "wire.h"

enum mode { ECHO, TYPED, POLLING, BROADCAST, ROOM, MIXED, IDLE, DEFLATE, LEAVE };
enum state { UPGRADING, OPENING, CONNECTING, JOINING, READY };

struct connection {
    struct wire wire;
    enum state state;
    bool deflates, posting;
    char sid[64];
    double *sent_at; /* a ring of time stamps, one for each that may be in flight */
    int ring;
    long sent, acked, received;
};

extern enum mode mode;
extern int ready;

void count_ack(struct connection *c);

/* Long polling (polling.c): one request at a time on each connection. */
void get(struct connection *c);
void post(struct connection *c, const char *packet, size_t length);
/* Handle the responses that are here; return how many echoes they completed. */
int feed_responses(struct connection *c);

#endif
