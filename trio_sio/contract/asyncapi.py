"""The contract as AsyncAPI 3.0: a channel for each namespace, an operation for each event, a reply for each acknowledgement.

There is no official binding for Socket.IO. So what carries the messages is said in words, and the query of the handshake is in
the binding for WebSockets.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from .model import Contract, EventContract, NamespaceContract, Refusal
from .writing import identifiers

__all__ = ["asyncapi"]

DESCRIPTION: Final = (
    "Socket.IO 5 over Engine.IO 4: a message is an EVENT packet, whose payload is the array of the event's arguments behind its "
    "name; a reply is an ACK packet, whose payload is the array of the values. Strings with the format `binary` are attachments. "
    "A channel is a namespace; what is sent there is carried by HTTP long-polling, or by a WebSocket at the server's path."
)


def asyncapi(contract: Contract) -> dict[str, Any]:
    """Return the document."""
    names = identifiers(namespace.name for namespace in contract.namespaces)
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for namespace in contract.namespaces:
        key = names[namespace.name]
        messages: dict[str, Any] = {}
        # From the server's point of view: it receives what clients send.
        for action, events in (("receive", namespace.sent), ("send", namespace.heard)):
            events_by_key = identifiers(event.name for event in events)
            for event in events:
                name = f"{'sent' if action == 'receive' else 'heard'}{events_by_key[event.name]}"
                messages[name] = _message(event)
                operation: dict[str, Any] = {
                    "action": action,
                    "channel": {"$ref": f"#/channels/{key}"},
                    "messages": [{"$ref": f"#/channels/{key}/messages/{name}"}],
                }
                replies = []
                if (reply := event.reply()) is not None:
                    messages[f"{name}Reply"] = {"name": f"{event.name} (acknowledgement)", "payload": _moved(reply)}
                    replies.append(f"{name}Reply")
                if event.refusals:
                    messages[f"{name}Refusal"] = {"name": f"{event.name} (refusal)", "payload": _acknowledged(_refusal(event.refusals))}
                    replies.append(f"{name}Refusal")
                if replies:
                    operation["reply"] = {
                        "channel": {"$ref": f"#/channels/{key}"},
                        "messages": [{"$ref": f"#/channels/{key}/messages/{one}"} for one in replies],
                    }
                operations[f"{key}{name[0].upper()}{name[1:]}"] = operation
        if namespace.refusals:
            messages["refused"] = {"name": "connect_error", "payload": _refusal(namespace.refusals, status=False)}
            operations[f"{key}Refused"] = {
                "action": "send",
                "channel": {"$ref": f"#/channels/{key}"},
                "messages": [{"$ref": f"#/channels/{key}/messages/refused"}],
            }
        channels[key] = _channel(namespace, messages)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Socket.IO server", "version": "1.0.0", "description": DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {"server": {"host": "localhost:3000", "protocol": "ws", "pathname": "/socket.io/"}},
        "channels": channels,
        "operations": operations,
        "components": {"schemas": {name: _moved(schema) for name, schema in contract.schemas.items()}},
    }


def _channel(namespace: NamespaceContract, messages: dict[str, Any]) -> dict[str, Any]:
    channel: dict[str, Any] = {"address": namespace.name}
    description = namespace.description
    if namespace.is_pattern:
        groups = re.findall(r"\(\?P<(\w+)>", namespace.name)
        address = re.sub(r"\(\?P<(\w+)>[^()]*\)", r"{\1}", namespace.name)
        plain = re.fullmatch(r"(?:[\w/:@~.-]|\{\w+\})*", address) is not None and "." not in address
        channel = {"address": address if plain else None}
        if plain and groups:
            channel["parameters"] = {group: {"description": "A group of the pattern."} for group in groups}
        description = f"Namespaces that match `{namespace.name}`.\n\n{description}".strip()
    if description:
        channel["description"] = description
    query = {
        "type": "object",
        "properties": {
            "EIO": {"const": "4"},
            "transport": {"enum": ["polling", "websocket"]},
            "sid": {"type": "string", "description": "The session, once there is one."},
        },
        "required": ["EIO", "transport"],
    }
    return {**channel, "messages": messages, "bindings": {"ws": {"method": "GET", "query": query, "bindingVersion": "0.1.0"}}}


def _message(event: EventContract) -> dict[str, Any]:
    described = {"description": event.description} if event.description else {}
    return {"name": event.name, **described, "payload": _moved(event.payload())}


def _refusal(refusals: Sequence[Refusal], *, status: bool = True) -> dict[str, Any]:
    """Return the schema of what a client is refused with; ``status``: as what acknowledges an event."""
    data = [{"title": one.name, **_moved(one.data)} for one in refusals]
    properties = {"message": {"type": "string"}, "data": data[0] if len(data) == 1 else {"anyOf": data}}
    if status:
        properties = {"status": {"const": "error"}, **properties}
    return {"type": "object", "properties": properties, "required": [*properties][: -1 if not status else None]}


def _acknowledged(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "prefixItems": [schema], "minItems": 1, "maxItems": 1, "items": {"not": {}}}


def _moved(schema: Any) -> Any:
    """Return a copy whose references lead to where AsyncAPI has its schemas."""
    if isinstance(schema, list):
        return [_moved(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {key: _moved(value) for key, value in schema.items()}
    if "$ref" in moved:
        return {"$ref": moved["$ref"].replace("#/$defs/", "#/components/schemas/")}
    return moved
