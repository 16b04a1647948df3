"""One HTTP/3 request with aioquic, a client that is not ours.

Prints one line of JSON: {"status": 200, "headers": [["name", "value"], ...], "body": "..."}; exits with 1 when there is no answer.
"""

import argparse
import asyncio
import json
import ssl
import sys
from urllib.parse import urlsplit

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset


class Client(QuicConnectionProtocol):
    """Sends one request and gathers its answer."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.headers = []
        self.body = bytearray()
        self.done = self._loop.create_future()

    def quic_event_received(self, event):
        if isinstance(event, (ConnectionTerminated, StreamReset)) and not self.done.done():
            self.done.set_exception(RuntimeError(repr(event)))
        for received in self.http.handle_event(event):
            if isinstance(received, HeadersReceived):
                # Trailers come after the head and have no status.
                if not self.headers:
                    self.headers = [(k.decode(), v.decode("latin-1")) for k, v in received.headers]
            elif isinstance(received, DataReceived):
                self.body += received.data
            if getattr(received, "stream_ended", False) and not self.done.done():
                self.done.set_result(None)

    async def request(self, method, url, headers, body):
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        head = [(b":method", method.encode()), (b":scheme", b"https"), (b":authority", parts.netloc.encode()), (b":path", path.encode())]
        head += [(name.strip().lower().encode(), value.strip().encode()) for name, value in headers]
        stream = self._quic.get_next_available_stream_id()
        self.http.send_headers(stream, head, end_stream=not body)
        if body:
            self.http.send_data(stream, body, end_stream=True)
        self.transmit()
        await self.done


async def run(arguments):
    parts = urlsplit(arguments.url)
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=parts.hostname)
    configuration.load_verify_locations(arguments.ca)
    configuration.verify_mode = ssl.CERT_REQUIRED
    address = "127.0.0.1" if parts.hostname.endswith("localhost") else parts.hostname
    async with connect(address, parts.port or 443, configuration=configuration, create_protocol=Client) as client:
        headers = [header.split(":", 1) for header in arguments.header]
        body = arguments.data.encode() if arguments.data is not None else b""
        await client.request(arguments.method, arguments.url, headers, body)
        fields = [[name, value] for name, value in client.headers if not name.startswith(":")]
        status = int(dict(client.headers)[":status"])
        return {"status": status, "headers": fields, "body": client.body.decode("utf-8", "replace")}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--ca", required=True)
    parser.add_argument("--method", default="GET")
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--data")
    parser.add_argument("--timeout", type=float, default=20)
    arguments = parser.parse_args()
    try:
        print(json.dumps(asyncio.run(asyncio.wait_for(run(arguments), arguments.timeout))))
    except Exception as error:  # Whatever it was: there is no answer, and the caller wants to know why.
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)


main()
