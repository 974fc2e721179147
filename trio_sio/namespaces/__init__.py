"""What Socket.IO means: who is in which namespace and which room, and who hears what.

From the bottom up, as the files import each other:

* values and small things: target, cookies, handshake, views, states, packet_log, acks, failures;
* what stands beside a namespace or a socket, and says in a protocol what it needs of it: answers, taps, subscriptions,
  server_side, session and recovery, listeners, handler, slow_handlers, dispatcher;
* those that own each other: `Namespace` has an `Adapter` and sockets, a `Socket` its core with its rooms, a `Client` the
  cores of one connection; operators (broadcast) and `RemoteSocket` speak for them;
* which namespaces there are: registry.
"""
